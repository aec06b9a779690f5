"""An edit in words, as a CLIP sees it, and the lessons that a training goes through towards it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.judges import Embedder, seen
from scumble.core.prior import Denoiser, Prior
from scumble.core.types import Image, Latent
from scumble.loops.cycle import climb
from scumble.tuning import losses


@dataclass(frozen=True, eq=False)
class Goal:
    """`direction` (1, d): where the text moves; `likeness`: cos of the two texts; `judge`: whose eyes see it."""

    judge: Embedder
    direction: Float[Tensor, "1 d"]
    likeness: float = 1.0

    @classmethod
    def of(
        cls, judge: Embedder, source: str, target: str, templates: Sequence[str] = losses.TEMPLATES
    ) -> "Goal":
        """From one phrase to another, in the sentences around both that the judge can read.

        Raises InputError where it reads none, or the two are the same to it.
        """
        readable = [each for each in templates if _reads(judge, [each.format(source), each.format(target)])]
        readable = readable or ["{}"]  # whose refusal says what is wrong
        before, after = (
            judge.embed_text([each.format(words) for each in readable]) for words in (source, target)
        )
        direction = losses.text_direction(before, after)
        if not float(direction.abs().sum()) > 0:
            raise InputError(
                f"target: to {judge.id}, {target!r} is the same as {source!r}; describe what is different"
            )
        return cls(judge, direction.detach(), losses.likeness(before, after))

    def view(self, prior: Prior, x: Latent) -> Tensor:
        """Clean latents as the judge is given them."""
        return seen(self.judge, prior, x)

    def embed(self, view: Tensor, prior: Prior) -> Float[Tensor, "b d"]:
        """The embeddings of what the judge is given."""
        clean = prior.schedule.time(prior.schedule.clean, len(view)) if self.judge.noisy else None
        return self.judge.embed_image(view, clean)


def _reads(judge: Embedder, prompts: Sequence[str]) -> bool:
    try:
        judge.embed_text(prompts)
    except InputError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a training goes through, picture by picture: `views` (n, ...) as the judge is given them, their
    `embeddings` (n, d), and the `latents` (n, c, h, w) that inversion has led to.
    """

    views: Tensor
    embeddings: Tensor
    latents: Tensor

    def __len__(self) -> int:
        return len(self.latents)


def plain(prior: Prior, rows: int) -> Denoiser:
    """The prior without guidance, under the empty prompt."""
    text = prior.embed([""] * rows)
    return guide(prior, text, text, 1)


def learn(
    prior: Prior,
    goal: Goal,
    pictures: Sequence[Image],
    levels: Sequence[int],
    on_picture: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Every picture (1, 3, H, W), all of one size, inverted up the levels; no gradients."""
    with torch.no_grad():
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for k, picture in enumerate(pictures, 1):
            z = prior.encode(picture)
            view = picture.to(z.device) if goal.judge.space == "pixels" else z
            latent = climb(plain(prior, 1), z, levels, prior.schedule)
            parts.append((view, goal.embed(view, prior), latent))
            if on_picture is not None:
                on_picture(k, len(pictures))
        views, embeddings, latents = (torch.cat(part) for part in zip(*parts, strict=True))
    return Lessons(views, embeddings, latents)
