"""Tuned weights: what takes the place of a model's own while an edit runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from scumble.artifacts.origin import restored
from scumble.core.errors import InputError
from scumble.core.prior import Card

FORMS = ("weights", "lora", "rows")
"""What a file may hold: whole weights; low-rank changes of them (Hu et al. 2021); some rows of a table."""

UP, DOWN, IDS = ":up", ":down", ":ids"
TEXT = "text:"  # embedded prompts in the file, which are no weights


@dataclass(frozen=True, kw_only=True, eq=False)
class TunedWeights:
    """A change of the weights of the model `prior` with the hash `prior_hash`, by the names of `Prior.parameters`.

    `form` says what `values` are. "weights": the new weights W'. "lora": for every weight "W:up" (out, r) and "W:down"
    (r, in ...), W' = W + up down. "rows": for every table W its new rows (n, d) and "W:ids" (n,), which rows they are.
    `texts`: embedded prompts (1, L, D) that were learned, by name. `recipe` (JSON) says how it was made: the method,
    its values, what it was given, and the word that it was bound to.
    """

    name: ClassVar[str] = "tuned"

    prior: str
    prior_hash: str
    values: Mapping[str, Tensor]
    texts: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    form: str = "weights"
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputError(f"tuned: it holds {self.form!r}, which this scumble cannot use; update it")
        ends = {"lora": (UP, DOWN), "rows": ("", IDS)}.get(self.form, ())
        missing = [name + end for name in self.changes for end in ends if name + end not in self.values]
        if missing:
            raise InputError(f"tuned: {missing[0]} is missing; the file is damaged, make it again")

    @property
    def changes(self) -> list[str]:
        """The names of the weights that it changes, sorted."""
        names = (
            name.removesuffix(end) for name in self.values for end in (UP, DOWN, IDS) if name.endswith(end)
        )
        return sorted({*names} if self.form != "weights" else self.values)

    @property
    def words(self) -> frozenset[str]:
        """The words of the identifier that it was bound to, in lower case."""
        return frozenset(str(self.recipe.get("word") or "").lower().split())

    def check(self, card: Card) -> None:
        """Raises InputError unless it was tuned from this model."""
        if (self.prior, self.prior_hash) != (card.id, card.hash):
            raise InputError(
                f"tuned: tuned from model '{self.prior}' (hash {self.prior_hash[:8]}), but this edit uses "
                f"'{card.id}' ({card.hash[:8]}); load that model, or tune this one"
            )

    def weights(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The changed weights in full; `own`: the model's, of which those that it lacks are left to `tuning.weights`.

        Raises InputError where a low-rank change or a row does not fit its weight.
        """
        if self.form == "weights":
            return dict(self.values)
        return {name: self._changed(name, own.get(name)) for name in self.changes}

    def _changed(self, name: str, own: Tensor | None) -> Tensor:
        parts = self.values
        if own is None:
            return parts[
                name if self.form == "rows" else name + UP
            ]  # whoever puts it in says what is missing
        try:
            if self.form == "rows":
                return (
                    own.detach().clone().index_copy_(0, parts[name + IDS].to(own.device), parts[name].to(own))
                )
            up, down = (parts[name + end].to(own.device, torch.float32) for end in (UP, DOWN))
            return (own.detach().float() + (up.flatten(1) @ down.flatten(1)).reshape(own.shape)).to(own.dtype)
        except (RuntimeError, IndexError) as error:
            raise InputError(
                f"tuned: the change of {name!r} does not fit it; tune that model itself"
            ) from error

    @property
    def whole(self) -> bool:
        """Whether anything was learned."""
        return bool(self.values or self.texts)

    # As a file: tensors and JSON

    def tensors(self) -> dict[str, Tensor]:
        return {**self.values, **{TEXT + name: text for name, text in self.texts.items()}}

    def about(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _ABOUT}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "TunedWeights":
        """Raises InputError where it is incomplete or holds no numbers."""

        def made(
            *, prior: str, prior_hash: str, form: str, recipe: dict[str, Any], **values: Tensor
        ) -> TunedWeights:
            texts = {name.removeprefix(TEXT): x for name, x in values.items() if name.startswith(TEXT)}
            rest = {name: x for name, x in values.items() if not name.startswith(TEXT)}
            return cls(prior=prior, prior_hash=prior_hash, form=form, recipe=recipe, values=rest, texts=texts)

        return restored(cls.name, made, tensors, about, _ABOUT)


_ABOUT = "prior", "prior_hash", "form", "recipe"
