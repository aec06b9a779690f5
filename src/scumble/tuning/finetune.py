"""DiffusionCLIP's fine-tuning (Kim, Kwon & Ye 2022, arXiv:2110.02711, section 3.2 and appendix).

The picture's inverted noise goes down the deterministic chain, and the model's weights are moved until what comes out
differs from the picture as the text says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.core.request import param, validate
from scumble.core.types import Latent, Pair
from scumble.loops import steps
from scumble.loops.cycle import downward, levels
from scumble.tuning import losses
from scumble.tuning.goal import Goal, Lessons, plain
from scumble.tuning.training import Shown, Walk, check_weights
from scumble.tuning.weights import changed, copied


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """How a model is fine-tuned for one edit. Defaults: the authors' code and its notes."""

    start: int = param(400, ge=1, help="time that pictures are taken up to, as in the edit")
    steps: int = param(6, ge=2, help="steps of the way down in training")
    inversion_steps: int = param(40, ge=2, help="levels of the way up")
    saving: bool = param(
        False, help="save memory: an optimiser step for each step of the chain, on its predicted picture"
    )
    epochs: int = param(5, ge=1, help="how often all pictures are gone through")
    batch: int = param(1, ge=1, help="pictures per optimiser step")
    rate: float = param(8e-6, gt=0, help="the learning rate")
    growth: float = param(1.3, gt=0, help="factor of the learning rate from one epoch to the next")
    clip: float = param(3.0, ge=0, help="weight of the directional loss")
    l1: float = param(1.0, ge=0, help="weight of the mean difference from the picture")
    identity: float = param(
        0.0, ge=0, help="weight of the distance from the picture in the CLIP's embeddings"
    )
    part: str = param("denoiser", help="the part of the model whose weights are tuned")

    def __post_init__(self) -> None:
        validate(self)
        check_weights(clip=self.clip, l1=self.l1, identity=self.identity)

    def up(self, prior: Prior) -> list[int]:
        """The levels of the pictures' inversion."""
        return levels(prior.schedule, self.start, self.inversion_steps)

    def down(self, prior: Prior) -> list[Pair]:
        return downward(prior.schedule, levels(prior.schedule, self.start, self.steps))


class Finetuning(Walk):
    """The training; the prior's own weights are as they were between steps.

    Raises InputError for weights that cannot be tuned: quantised, offloaded, or of half precision.
    """

    def __init__(self, prior: Prior, goal: Goal, lessons: Lessons, recipe: Finetune):
        super().__init__(
            len(lessons),
            recipe.down(prior),
            batch=recipe.batch,
            epochs=recipe.epochs,
            whole=not recipe.saving,
            rate=recipe.rate,
            growth=recipe.growth,
        )
        self.prior, self.goal, self.lessons, self.recipe = prior, goal, lessons, recipe
        with prior.tuning():  # says now what it would refuse
            self.values = copied(prior, recipe.part)
        half = next((w.dtype for w in self.values.values() if torch.finfo(w.dtype).bits < 32), None)
        if half is not None:
            raise InputError(
                f"tuning: '{prior.card.id}' is loaded in {str(half).removeprefix('torch.')}, too coarse for the small "
                "steps of a training; load it in float32"
            )
        self._adam = torch.optim.Adam(list(self.values.values()), lr=recipe.rate)

    @property
    def trained(self) -> Sequence[Tensor]:
        return list(self.values.values())

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._adam

    def result(self) -> Mapping[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.values.items()}

    def look(self) -> tuple[Shown, list[Tensor], tuple[Latent, ...]]:
        x = self.lessons.latents[self.rows] if self.move == 0 else self.x[0]
        moves = self.pairs[self.move : self.move + 1] if self.recipe.saving else self.pairs
        schedule = self.prior.schedule
        with torch.enable_grad(), changed(self.prior, self.values, trained=True) as weights:
            denoise = plain(self.prior, len(x))
            clean = x
            for t, s in moves:
                p = denoise(x, schedule.time(t, len(x)), None)
                x, clean = steps.ddim(p, x, t, s, schedule).mean, p.x0
            terms = self._terms(clean if self.recipe.saving else x)
            loss = torch.stack(list(terms.values())).sum()
            found = torch.autograd.grad(
                loss, list(weights.values()), allow_unused=True, materialize_grads=True
            )
        values = {name: float(term.detach()) for name, term in {**terms, "loss": loss}.items()}
        return values, list(found), (x.detach(),)

    def _terms(self, x: Latent) -> dict[str, Tensor]:
        """The weighted terms of the loss at clean latents x, means over the batch."""
        view, before = self.goal.view(self.prior, x), self.lessons.embeddings[self.rows]
        after, weights = self.goal.embed(view, self.prior), self.recipe
        d = losses.directional(before, after, self.goal.direction)
        terms = {
            "clip": weights.clip * losses.penalty(d).mean(),
            "l1": weights.l1 * losses.l1(self.lessons.views[self.rows], view).mean(),
            "identity": weights.identity * losses.identity(before, after).mean(),
        }
        return {name: term for name, term in terms.items() if getattr(weights, name)}
