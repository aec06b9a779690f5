"""What a training on one's own pictures changes, and in which stages. Everything is restored when a context closes."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import LowRank, Prior, Text
from scumble.tuning.weights import changed, check_precise, copied

TABLES = "token_embedding.weight", "embed_tokens.weight", "shared.weight"
"""How the names of tables of token embeddings end: CLIP's, newer encoders', T5's."""


@runtime_checkable
class Trained(Protocol):
    """What an optimiser moves. Inside `open`, the prior has the values of `tensors`; `take` comes after the backward
    passes of a step, `put` after the step.
    """

    @property
    def tensors(self) -> Sequence[Tensor]: ...

    def open(self) -> AbstractContextManager[None]: ...

    def take(self) -> None:
        """The gradients are at `tensors`."""
        ...

    def put(self) -> None:
        """The prior has the present values of `tensors`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """`steps` steps of an optimiser ("adam", "adamw", "adamw8bit") on what is `trained`.

    `loss(k)`: the scalar of pass k, of which a step averages `accumulate`. `clip`: the largest norm of a step's
    gradient; 0: any.
    """

    name: str
    steps: int
    rate: float
    trained: Trained
    loss: Callable[[int], Tensor]
    optimizer: str = "adam"
    decay: float = 0.0
    clip: float = 0.0
    accumulate: int = 1


class Weights(Trained):
    """Whole weights of the parts: those whose name contains `named`.

    Raises InputError where none does, and for weights that cannot be tuned: quantised, offloaded, of half precision.
    """

    def __init__(self, prior: Prior, parts: Sequence[str], named: str = ""):
        self._prior = prior
        with prior.tuning():  # says now what it would refuse
            own = {name: value for part in parts for name, value in copied(prior, part).items()}
        self.values = {name: value for name, value in own.items() if named in name}
        if not self.values:
            raise InputError(
                f"named: {named!r} is in the name of no weight; weights are called {next(iter(own))}"
            )
        check_precise(prior, self.values, "tuning", "train a LoRA (form=lora)")
        self._weights: Mapping[str, Tensor] = {}

    @property
    def tensors(self) -> Sequence[Tensor]:
        return list(self.values.values())

    @contextmanager
    def open(self) -> Generator[None]:
        with changed(self._prior, self.values, trained=True) as self._weights:
            try:
                yield
            finally:
                for weight in self._weights.values():
                    weight.grad = None

    def take(self) -> None:
        for name, weight in self._weights.items():
            self.values[name].grad, weight.grad = weight.grad, None

    def put(self) -> None:
        """Nothing: the prior's weights share the memory of `values`."""


class Adapter(Trained):
    """Low-rank changes; `matrices` are there once it was open. Scaled, as `artifacts.tuned` keeps them, in `values`."""

    def __init__(self, prior: Prior, low_rank: LowRank):
        self._prior, self._low_rank = prior, low_rank
        self.matrices: Mapping[str, Tensor] = {}

    @property
    def tensors(self) -> Sequence[Tensor]:
        return list(self.matrices.values())

    @property
    def values(self) -> dict[str, Tensor]:
        scale = self._low_rank.alpha / self._low_rank.rank
        return {
            name: (scale * x if name.endswith(":up") else x).detach().clone()
            for name, x in self.matrices.items()
        }

    @contextmanager
    def open(self) -> Generator[None]:
        with self._prior.adapter(self._low_rank) as self.matrices:
            yield

    def take(self) -> None:
        """Nothing: they are the network's own."""

    def put(self) -> None:
        """Nothing: they are the network's own."""


class Embedding(Trained):
    """The embedded prompt itself (Imagic, section 3.1): `text` with `tokens` (1, L, D) that are trained."""

    def __init__(self, text: Text):
        self._text = text
        self.tokens = text.tokens.detach().float().clone().requires_grad_()

    @property
    def tensors(self) -> Sequence[Tensor]:
        return [self.tokens]

    @property
    def text(self) -> Text:
        """The prompt, through which gradients reach `tokens`."""
        return replace(self._text, tokens=self.tokens.to(self._text.tokens.dtype))

    @property
    def learned(self) -> Text:
        """The prompt as it is now."""
        return replace(self._text, tokens=self.tokens.detach().to(self._text.tokens.dtype))

    @contextmanager
    def open(self) -> Generator[None]:
        yield

    def take(self) -> None:
        """Nothing: the loss is a function of the tokens."""

    def put(self) -> None:
        """Nothing: the loss is a function of the tokens."""


class Rows(Trained):
    """Rows of the tables of token embeddings (textual inversion): those of the ids (n,), begun at `start` by table.

    Raises InputError for weights that cannot be tuned: quantised, offloaded. The rows themselves are float32.
    """

    def __init__(self, prior: Prior, ids: Sequence[int], start: Mapping[str, Tensor]):
        self._prior, self._ids = prior, torch.tensor(list(ids), dtype=torch.int64)
        own = prior.parameters("text")
        with prior.tuning():
            self._tables = {name: own[name].detach().clone() for name in start}
        self.rows = {name: rows.detach().float().clone().requires_grad_() for name, rows in start.items()}
        self._weights: Mapping[str, Tensor] = {}

    @property
    def tensors(self) -> Sequence[Tensor]:
        return list(self.rows.values())

    @property
    def values(self) -> dict[str, Tensor]:
        """As `artifacts.tuned` keeps them."""
        rows = {name: rows.detach().clone() for name, rows in self.rows.items()}
        return rows | {f"{name}:ids": self._ids.clone() for name in rows}

    @contextmanager
    def open(self) -> Generator[None]:
        self.put()
        with changed(self._prior, self._tables, trained=True) as self._weights:
            try:
                yield
            finally:
                for table in self._weights.values():
                    table.grad = None

    def take(self) -> None:
        for name, table in self._weights.items():
            assert table.grad is not None
            self.rows[name].grad = table.grad[self._ids.to(table.device)].to(self.rows[name])
            table.grad = None

    def put(self) -> None:
        with torch.no_grad():
            for name, rows in self.rows.items():
                table = self._tables[name]
                table[self._ids.to(table.device)] = rows.to(table)


def tables(prior: Prior) -> dict[str, Tensor]:
    """The tables of token embeddings by name. Raises InputError for a model that has none."""
    found = {name: table for name, table in prior.parameters("text").items() if name.endswith(TABLES)}
    if not found:
        raise InputError(
            f"tuning: model '{prior.card.id}' has no table of words; textual inversion needs one"
        )
    return found
