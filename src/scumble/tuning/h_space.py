"""Asyrp's training (Kwon, Jeong & Uh 2023, arXiv:2210.10960, section 4): a small network at the bottleneck, and the
model as it is.

Every picture's inverted noise goes down the chain while t >= edit_until. At each step the network is moved so that the
picture predicted with its shift differs from the source as the text says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scumble.attention.h_space import HSpace
from scumble.core.control import SOURCE, TARGET
from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior, ask
from scumble.core.request import param, validate
from scumble.core.types import Latent, Pair
from scumble.loops import steps
from scumble.loops.cycle import downward, levels
from scumble.tuning import losses
from scumble.tuning.goal import Goal, Lessons
from scumble.tuning.training import Shown, Walk, check_weights

NUDGE = 1e-6  # of the published grid, before it is rounded down


@dataclass(frozen=True, kw_only=True)
class HSpaceTraining:
    """How a direction in h-space is trained. Defaults: the authors' script, but for Adam, its rate, and one epoch at a
    constant rate instead of five at a falling one.
    """

    start: int = param(999, ge=1, help="time that pictures are taken up to, as in the edit")
    edit_until: int = param(500, ge=0, help="the bottleneck is shifted at times from here on up")
    steps: int = param(40, ge=2, help="steps of the whole way down")
    inversion_steps: int = param(40, ge=2, help="levels of the way up")
    epochs: int = param(1, ge=1, help="how often all pictures are gone through")
    batch: int = param(1, ge=1, help="pictures per optimiser step")
    optimizer: str = param("adam", choices=("adam", "sgd"), help="the authors take sgd, with a rate of 0.5")
    rate: float = param(1e-3, gt=0, help="the learning rate")
    growth: float = param(1.0, gt=0, help="factor of the learning rate from one epoch to the next")
    clip: float = param(1.0, ge=0, help="weight of the directional loss")
    l1: float = param(3.0, ge=0, help="weight of the mean difference from the unshifted prediction")

    def __post_init__(self) -> None:
        validate(self)
        check_weights(clip=self.clip, l1=self.l1)

    def up(self, prior: Prior) -> list[int]:
        """The levels of the pictures' inversion."""
        return levels(prior.schedule, self.start, self.inversion_steps, NUDGE)

    def down(self, prior: Prior) -> list[Pair]:
        """The moves on which the bottleneck is shifted. Raises InputError where there are none."""
        whole = downward(prior.schedule, levels(prior.schedule, self.start, self.steps, NUDGE))
        edited = [(t, s) for t, s in whole if t >= self.edit_until]
        if not edited:
            raise InputError(
                f"edit_until: {self.edit_until}; no step from {self.start} down is at or above it: lower it"
            )
        return edited


class HSpaceTrainer(Walk):
    """Trains `delta`, a network of (h, t), in place; the model's weights stay as they are.

    Raises InputError for a model that cannot be looked into, or through which no gradient flows.
    """

    def __init__(self, prior: Prior, goal: Goal, lessons: Lessons, delta: nn.Module, recipe: HSpaceTraining):
        super().__init__(
            len(lessons),
            recipe.down(prior),
            batch=recipe.batch,
            epochs=recipe.epochs,
            whole=False,
            rate=recipe.rate,
            growth=recipe.growth,
        )
        self.prior, self.goal, self.lessons, self.recipe = prior, goal, lessons, recipe
        self.delta = delta.requires_grad_()
        kind = torch.optim.SGD if recipe.optimizer == "sgd" else torch.optim.Adam
        self._optimizer = kind(delta.parameters(), lr=recipe.rate)

    @property
    def trained(self) -> Sequence[Tensor]:
        return list(self.delta.parameters())

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._optimizer

    def result(self) -> Mapping[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.delta.state_dict().items()}

    def look(self) -> tuple[Shown, list[Tensor], tuple[Latent, ...]]:
        begun = (self.lessons.latents[self.rows],) * 2
        edited, own = begun if self.move == 0 else self.x
        (t, s), schedule, prior = self.pairs[self.move], self.prior.schedule, self.prior
        text, now = prior.embed([""] * len(edited)), schedule.time(t, len(edited))
        with torch.no_grad():
            apart = ask(prior, {SOURCE: (edited, text), ("own", "text"): (own, text)}, now)
        with torch.enable_grad(), prior.control(HSpace([(self.delta, 1.0)])):
            shifted = ask(prior, {TARGET: (edited, text)}, now)[TARGET]
            terms = self._terms(shifted.x0, apart["own", "text"].x0)
            loss = torch.stack(list(terms.values())).sum()
            gradients = torch.autograd.grad(loss, self.trained)
        values = {name: float(term.detach()) for name, term in {**terms, "loss": loss}.items()}
        asymmetric = Prediction(shifted.x0.detach(), apart[SOURCE].eps)
        x = (asymmetric, edited), (apart["own", "text"], own)
        return values, list(gradients), tuple(steps.ddim(p, x_t, t, s, schedule).mean for p, x_t in x)

    def _terms(self, x0: Latent, own: Latent) -> dict[str, Tensor]:
        """The weighted terms at the shifted prediction x0, against the picture and the unshifted one."""
        after = self.goal.embed(self.goal.view(self.prior, x0), self.prior)
        d = losses.directional(self.lessons.embeddings[self.rows], after, self.goal.direction)
        terms = {
            "clip": self.recipe.clip * losses.penalty(d).mean(),
            "l1": self.recipe.l1 * self.goal.likeness * losses.l1(own, x0).mean(),
        }
        return {name: term for name, term in terms.items() if getattr(self.recipe, name)}
