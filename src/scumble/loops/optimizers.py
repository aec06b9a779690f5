"""How a gradient becomes a step of unit rate. The rules are pure: they get their state and return the next one.

theta (b, ...) holds a picture per row, and no rule mixes rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

State = tuple[Tensor, ...]


@runtime_checkable
class Optimizer(Protocol):
    """theta <- theta - rate * step."""

    def __call__(self, grad: Tensor, k: int, state: State) -> tuple[Tensor, State]:
        """Takes the gradient of step k (from 1) and the state that the previous step returned, () at first. Returns
        (step, state).
        """
        ...


@dataclass(frozen=True)
class SGD:
    """The gradient itself, or with momentum the sum of all gradients, older ones with less weight."""

    momentum: float = 0.0

    def __call__(self, grad: Tensor, k: int, state: State) -> tuple[Tensor, State]:
        if not self.momentum:
            return grad, ()
        velocity = self.momentum * state[0] + grad if state else grad
        return velocity, (velocity,)


@dataclass(frozen=True)
class Adam:
    """Kingma & Ba 2015, Algorithm 1; the defaults are those of public score distillation code."""

    mean: float = 0.9
    square: float = 0.99
    tiny: float = 1e-15

    def __call__(self, grad: Tensor, k: int, state: State) -> tuple[Tensor, State]:
        first, second = state or (0 * grad, 0 * grad)
        first = self.mean * first + (1 - self.mean) * grad
        second = self.square * second + (1 - self.square) * grad**2
        spread = (second / (1 - self.square**k)).sqrt() + self.tiny
        return first / (1 - self.mean**k) / spread, (first, second)


@dataclass(frozen=True)
class Sign:
    """The sign of every element: steps of equal size for any gradient."""

    def __call__(self, grad: Tensor, k: int, state: State) -> tuple[Tensor, State]:
        return grad.sign(), ()


@dataclass(frozen=True)
class Normalized:
    """The gradient scaled to a root mean square of 1 per picture; a gradient of 0 stays 0."""

    def __call__(self, grad: Tensor, k: int, state: State) -> tuple[Tensor, State]:
        rms = grad.flatten(1).square().mean(1).sqrt().reshape(-1, *[1] * (grad.ndim - 1))
        return grad / rms.where(rms > 0, 1), ()


OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(0.9),
    "adam": Adam(),
    "sign": Sign(),
    "normalized": Normalized(),
}
