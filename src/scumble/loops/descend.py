"""x <- x - rate * score(x, t, noise): the loop of every method that follows a score."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.request import Parametrization, Score, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Mask, Pair, Time


@runtime_checkable
class Plan(Protocol):
    """When to look and how far to go: the (t, rate) of every step."""

    def __len__(self) -> int: ...

    def __call__(self, noise: Noise, rows: int) -> Iterator[tuple[Time, float]]:
        """Times (rows,) and rates, lazily: the times of a step are drawn before its score draws anything."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Times uniform on low..high-1 and a constant rate, as published for SDS and DDS."""

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
    """Times down a grid, each step as long as the noise-to-signal ratio it covers: rate = sigma~(t) -
    sigma~(s).

    With the DDS score this is FlowEdit's step (Kulikov et al. 2024), exactly, wherever alpha > 0.
    """

    schedule: Schedule
    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self.pairs)

    def __call__(self, noise: Noise, rows: int) -> Iterator[tuple[Time, float]]:
        for t, s in self.pairs:
            (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule.at(t), self.schedule.at(s)
            yield self.schedule.time(t, rows), float(sigma_t / alpha_t - sigma_s / alpha_s)


@dataclass(frozen=True)
class Itself:
    """The first parametrization: theta is the latent."""

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
    on_step: Watch | None = None,
) -> Tensor:
    """Follows the score from x and returns theta; g(theta) is the edited latent (g defaults to `Itself`).

    The mask (b or 1, 1, h, w) weighs the gradient. Only a parametrization makes an autograd graph, and only
    of g.
    """
    g = g or Itself()
    theta = g.start(x)
    for k, (t, rate) in enumerate(plan(noise, len(x)), 1):
        if isinstance(g, Itself):
            theta = theta - rate * _masked(score(theta, t, noise), mask)
        else:
            x, theta_grad = _through(g, theta)
            theta = theta - rate * theta_grad(_masked(score(x, t, noise), mask))
        if on_step is not None:
            x = g(theta)
            on_step(k, len(plan), float(t[0]), x, x)
    return theta


def _masked(grad: Latent, mask: Mask | None) -> Latent:
    return grad if mask is None else mask * grad


def _through(g: Parametrization, theta: Tensor) -> tuple[Latent, Callable[[Latent], Tensor]]:
    """g(theta), and the map that takes a gradient at g(theta) back to theta."""
    with torch.enable_grad():
        leaf = theta.detach().requires_grad_()
        x = g(leaf)
    return x.detach(), lambda grad: torch.autograd.grad(x, leaf, grad)[0]
