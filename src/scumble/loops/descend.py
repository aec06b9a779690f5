"""x <- x - rate * score(x, t, noise): the loop of every method that follows a score."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.request import Parametrization, Score, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Mask, Pair, Time
from scumble.loops.optimizers import SGD, Optimizer, State


@runtime_checkable
class Plan(Protocol):
    """The (t, rate) of every step: at which level to evaluate the score, and how far to move. Any object of this shape
    works.
    """

    def __len__(self) -> int: ...

    def __call__(self, noise: Noise, rows: int) -> Iterator[tuple[Time, float]]:
        """Times (rows,) and rates, lazily: the times of a step are drawn before its score draws anything."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Times drawn uniformly from low..high-1, and a constant rate, as published for SDS and DDS."""

    steps: int
    low: int
    high: int
    rate: float

    def __len__(self) -> int:
        return self.steps

    def __call__(self, noise: Noise, rows: int) -> Iterator[tuple[Time, float]]:
        for _ in range(self.steps):
            yield noise.times(self.low, self.high, rows), self.rate


@dataclass(frozen=True)
class Descending:
    """Times down a grid. The rate of a step is the change of the noise-to-signal ratio that it covers: sigma~(t) -
    sigma~(s), with sigma~ = sigma / alpha.

    With the DDS score this is exactly FlowEdit's step (Kulikov et al. 2024) wherever alpha > 0. It stops by itself:
    the rates add up to the ratio at the start. Raises InputError for times that rise, lie outside the schedule, or
    have no signal (alpha = 0).
    """

    schedule: Schedule
    pairs: Sequence[Pair]

    def __post_init__(self) -> None:
        before = float("inf")
        for t, s in self.pairs:
            if not before > t > s:
                raise InputError(
                    f"plan: times must fall, but {min(before, t):g} is followed by {max(t, s):g}"
                )
            if float(self.schedule.at(t)[0]) == 0:
                raise InputError(
                    f"plan: at time {t:g} there is only noise, and no clean picture to step; start lower"
                )
            self.schedule.at(s)
            before = t

    def __len__(self) -> int:
        return len(self.pairs)

    def __call__(self, noise: Noise, rows: int) -> Iterator[tuple[Time, float]]:
        for t, s in self.pairs:
            yield self.schedule.time(t, rows), self.rate(t, s)

    @property
    def times(self) -> list[float]:
        """Where it looks."""
        return [t for t, _ in self.pairs]

    def rate(self, t: float, s: float) -> float:
        """What a step from level t down to level s weighs."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule.at(t), self.schedule.at(s)
        return float(sigma_t / alpha_t - sigma_s / alpha_s)


@dataclass(frozen=True)
class EditFriendly(Descending):
    """Times down a grid, with the rates of edit-friendly inversion (Deutch et al. 2024, appendix C). On a discrete
    schedule these are (1 - alpha_t|s) / (sqrt(abar_t) sqrt(1 - abar_t)).

    With the DDS score these are the steps of `methods/edit_friendly.py` at eta = 1, with all noise maps kept.
    """

    def rate(self, t: float, s: float) -> float:
        alpha_t, sigma_t = self.schedule.at(t)
        return float(self.schedule.forward(s, t)[1] ** 2 / (alpha_t * sigma_t))


@dataclass(frozen=True)
class Repeated:
    """Splits each step of a plan into `times` parts of equal rate, all at the step's time."""

    plan: Plan
    times: int

    def __len__(self) -> int:
        return len(self.plan) * self.times

    def __call__(self, noise: Noise, rows: int) -> Iterator[tuple[Time, float]]:
        for t, rate in self.plan(noise, rows):
            for _ in range(self.times):
                yield t, rate / self.times


@dataclass(frozen=True)
class Itself:
    """The default parametrization: theta is the latent."""

    def start(self, x: Latent) -> Tensor:
        return x

    def __call__(self, theta: Tensor) -> Latent:
        return theta


def descend(
    score: Score,
    x: Latent,
    plan: Plan,
    noise: Noise,
    *,
    mask: Mask | None = None,
    g: Parametrization | None = None,
    optimizer: Optimizer | None = None,
    on_step: Watch | None = None,
) -> Tensor:
    """Follows the score from x and returns theta; g(theta) is the edited latent (g defaults to `Itself`).

    The mask (b or 1, 1, h, w) multiplies the gradient. The optimizer turns gradients of theta into steps (default:
    `SGD`, the gradient itself). Only a parametrization builds an autograd graph, and only of g.

    Raises InputError for a rate that is negative or not a number, and for a gradient that is not finite.
    """
    g, optimizer = g or Itself(), optimizer or SGD()
    theta, state = g.start(x), State()
    for k, (t, rate) in enumerate(plan(noise, len(x)), 1):
        here = f"step {k} of {len(plan)}, at time {float(t[0]):g}"
        if not 0 <= rate < math.inf:
            raise InputError(f"plan: the rate of {here}, is {rate:g}; rates are 0 or positive and finite")
        if isinstance(g, Itself):
            grad = _masked(score(theta, t, noise), mask)
        else:
            x, pulled_back = _through(g, theta)
            grad = pulled_back(_masked(score(x, t, noise), mask))
        check_finite(grad, _named(score), here)
        step, state = optimizer(grad, k, state)
        theta = theta - rate * step
        if on_step is not None:
            x = g(theta)
            on_step(k, len(plan), float(t[0]), x, x)
    return theta


def _named(score: Score) -> str:
    """What messages call it: DDS, SDS, ... as the papers do; "score" for what only the code has a name for."""
    name = type(score).__name__.removesuffix("Score")
    return name if name.isupper() else "score"


def check_finite(grad: Tensor, name: str, here: str) -> None:
    """Raises InputError for a gradient that is not finite, before it can turn the picture grey."""
    if not bool(grad.isfinite().all()):
        raise InputError(
            f"{name}: the gradient of {here}, is not finite; the picture has diverged: use a lower rate or "
            "guidance, or load the model in float32"
        )


def _masked(grad: Latent, mask: Mask | None) -> Latent:
    return grad if mask is None else mask * grad


def _through(g: Parametrization, theta: Tensor) -> tuple[Latent, Callable[[Latent], Tensor]]:
    """g(theta), and a function that maps a gradient at g(theta) back to theta."""
    with torch.enable_grad():
        leaf = theta.detach().requires_grad_()
        x = g(leaf)
    return x.detach(), lambda grad: torch.autograd.grad(x, leaf, grad)[0]
