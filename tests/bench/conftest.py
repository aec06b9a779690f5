"""A prior without weights that takes any prompt: a bench over it costs a moment."""

import zlib
from collections.abc import Sequence

import pytest

from scumble.bench.contestants import Contestant, split
from scumble.bench.run import Bench
from scumble.bench.stages import Stages
from scumble.cli.values import settings
from scumble.core.prior import Text
from scumble.measuring.tasks import scene_tasks
from scumble.priors.exact import GaussianPrior

SIDE = 64


class AnyPrompt(GaussianPrior):
    """A Gaussian around a colour that the prompt's letters decide; pictures are their own latents."""

    def __init__(self) -> None:
        super().__init__({"": 0.0}, 0.3, size=SIDE)

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        for prompt in prompts:
            number = zlib.crc32(prompt.encode())
            mean = [((number >> shift) % 256 - 128) / 1280 for shift in (0, 8, 16)]
            self._means.setdefault(prompt, self._tokens(mean, 3))
            self._std.setdefault(prompt, 0.3)
        return super().embed(prompts, size=size, **extra)


@pytest.fixture
def prior() -> AnyPrompt:
    return AnyPrompt()


@pytest.fixture
def stages(prior: AnyPrompt) -> Stages:
    """The first six edits of the validation split: one of each of the first six kinds."""
    return Stages(prior, scene_tasks("validation", 6, SIDE), "validation", 6)


def contestant(text: str) -> Contestant:
    name, said, extras = split(text)
    return Contestant(label=text, name=name, settings=settings(said), extras=extras)


def run(bench: Bench, stages: Stages, text: str) -> list[dict]:
    """The rows of one contestant."""
    from scumble.bench.rows import read_rows

    chosen = contestant(text)
    return read_rows(bench.run(stages.of(chosen).ready(chosen), stages.of(chosen)))
