"""What trainings of a direction have in common: steps one by one, and a state from which another process goes on."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.types import Latent, Pair

Shown = Mapping[str, float]
"""What a step tells about itself: the loss, and its terms."""


@runtime_checkable
class Training(Protocol):
    """`steps` optimiser steps, of which `done` are behind; `advance` takes the next.

    Between two steps, `state` is all that decides the rest: a training that has `resume`d from it goes on as if it had
    not stopped, to the last bit.
    """

    @property
    def steps(self) -> int: ...

    @property
    def done(self) -> int: ...

    def advance(self) -> Shown: ...

    def state(self) -> dict[str, Any]: ...

    def resume(self, state: Mapping[str, Any]) -> None: ...

    def result(self) -> Mapping[str, Tensor]:
        """The weights as they are now, by name."""
        ...


def check_weights(**weights: float) -> None:
    """Raises InputError where no term of a loss has a weight."""
    if not any(weights.values()):
        raise InputError(f"{', '.join(weights)}: all 0, so there is nothing to train for; raise one of them")


class Walk(Training):
    """A training that goes over `n` lessons in batches, `epochs` times, each down the moves of a chain.

    `whole`: a step is the chain as a whole, not one move. The rate is `rate` times growth^epoch.
    """

    def __init__(
        self,
        n: int,
        pairs: Sequence[Pair],
        *,
        batch: int,
        epochs: int,
        whole: bool,
        rate: float,
        growth: float,
    ):
        self._batches = [slice(i, min(i + batch, n)) for i in range(0, n, batch)]
        self.pairs = list(pairs)
        self._moves = 1 if whole else len(self.pairs)
        self._epochs, self._rate, self._growth, self._done = epochs, rate, growth, 0
        self.x: tuple[Latent, ...] = ()
        """The states of the chains that the batch is on."""

    @property
    def steps(self) -> int:
        return self._epochs * len(self._batches) * self._moves

    @property
    def done(self) -> int:
        return self._done

    @property
    def rows(self) -> slice:
        """The lessons of the next step."""
        return self._batches[self._done // self._moves % len(self._batches)]

    @property
    def move(self) -> int:
        """The number of the move that the next step is: 0 where a chain begins."""
        return self._done % self._moves

    @property
    def rate(self) -> float:
        return self._rate * self._growth ** (self._done // (self._moves * len(self._batches)))

    @abstractmethod
    def look(self) -> tuple[Shown, list[Tensor], tuple[Latent, ...]]:
        """The terms of the next step's loss, its gradients, and the states that it leads to; changes nothing."""

    @property
    @abstractmethod
    def trained(self) -> Sequence[Tensor]:
        """What the gradients belong to."""

    @property
    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer: ...

    def advance(self) -> Shown:
        shown, gradients, x = self.look()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        for weight, gradient in zip(self.trained, gradients, strict=True):
            weight.grad = gradient
        step: Any = self.optimizer.step
        step()
        for weight in self.trained:
            weight.grad = None
        self.x = x
        self._done += 1
        return shown

    def state(self) -> dict[str, Any]:
        return {
            "done": self._done,
            "x": list(self.x),
            "weights": [weight.detach().clone() for weight in self.trained],
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        self._done, self.x = state["done"], tuple(state["x"])
        with torch.no_grad():
            for weight, value in zip(self.trained, state["weights"], strict=True):
                weight.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
