"""A cascade of pixel models from text: each stage draws the one before it larger (IF; Imagen, arXiv:2205.11487)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from scumble.priors.deepfloyd import IFPrior

RATIO = 0.95
"""Of dynamic thresholding: the share of a picture's values that stay, as IF publishes it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How a stage is sampled: `steps` network calls of DDPM with learned variance, classifier-free `guidance`, and of
    a later stage the `level` of the noise in the picture that it is given (0..T-1). Defaults: a first stage's; IF
    publishes 50 steps, guidance 4 and level 250 for its second.
    """

    prior: IFPrior
    steps: int = 100
    guidance: float = 7.0
    level: int = 250

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.prior.schedule.T:
            raise InputError(f"steps: {self.steps}; choose 1 to {self.prior.schedule.T}")


def draw(
    stages: Sequence[Stage],
    prompt: str,
    *,
    negative: str = "",
    seed: int = 0,
    size: tuple[int, int] | None = None,
    factor: int = 4,
    picture: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The picture (1, 3, H, W) in [-1, 1] of the last stage.

    size: (H, W) of the first stage's picture; None: as it was trained. factor: by which each later stage multiplies
    it. picture: (1, 3, h, w), drawn larger by stages that are all later ones. on_step: (k, n) after every step. Raises
    InputError for stages in the wrong order.
    """
    import torch

    from scumble.core.guidance import guide
    from scumble.core.host import isolated
    from scumble.core.noise import Noise
    from scumble.core.prior import BOUND, thresholded
    from scumble.loops.ddpm import ddpm

    for number, stage in enumerate(stages):
        if (stage.prior.noising is None) is not (number == 0 and picture is None):
            raise InputError(
                f"stages: number {number + 1} is a {'later' if stage.prior.noising else 'first'} stage; a first one "
                "comes first, and only where no picture is given"
            )
    done, n = 0, sum(stage.steps for stage in stages)
    x = picture
    with isolated(), torch.no_grad():
        for number, stage in enumerate(stages):
            prior, noise = stage.prior, Noise(seed + number)
            side = prior.card.size
            height, width = (size or (side, side)) if x is None else (factor * each for each in x.shape[-2:])
            start = noise.like(torch.empty(1, 3, height, width, device=prior.device))
            told: dict[str, Any] = {}
            if x is not None:
                told |= prior.condition(x, (height, width), stage.level, noise)
            text, null = prior.embed([prompt], **told), prior.embed([negative], **told)
            denoise = guide(prior, text, null, stage.guidance)
            watch = partial(_tell, on_step, done, n)
            x = ddpm(
                thresholded(denoise, prior.schedule, ratio=RATIO, most=BOUND),
                start,
                prior.schedule.grid(stage.steps),
                prior.schedule,
                noise=noise,
                kind="learned_range",
                on_step=watch,
            )
            x, done = x.clamp(-1, 1), done + stage.steps
    assert x is not None, "no stages"
    return x


def _tell(on_step: Callable[[int, int], None] | None, before: int, n: int, k: int, *_: object) -> None:
    if on_step:
        on_step(before + k, n)
