"""Tuned weights: what takes the place of a model's own while an edit runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from scumble.artifacts.origin import restored
from scumble.core.errors import InputError
from scumble.core.prior import Card

FORMS = ("weights",)  # what a file may hold: whole weights


@dataclass(frozen=True, kw_only=True, eq=False)
class TunedWeights:
    """Values of weights by the names of `Prior.parameters`, for the model `prior` with the hash `prior_hash`.

    `form` says what the values are: "weights", which stand in for the model's own. `recipe` (JSON) says how they were
    made: the method, its values, and what it was given.
    """

    name: ClassVar[str] = "tuned"

    prior: str
    prior_hash: str
    values: Mapping[str, Tensor]
    form: str = "weights"
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputError(f"tuned: it holds {self.form!r}, which this scumble cannot use; update it")

    def check(self, card: Card) -> None:
        """Raises InputError unless it was tuned from this model."""
        if (self.prior, self.prior_hash) != (card.id, card.hash):
            raise InputError(
                f"tuned: tuned from model '{self.prior}' (hash {self.prior_hash[:8]}), but this edit uses "
                f"'{card.id}' ({card.hash[:8]}); load that model, or tune this one"
            )

    @property
    def whole(self) -> bool:
        """Whether there are any weights."""
        return bool(self.values)

    # As a file: tensors and JSON

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.values)

    def about(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _ABOUT}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "TunedWeights":
        """Raises InputError where it is incomplete or holds no numbers."""

        def made(
            *, prior: str, prior_hash: str, form: str, recipe: dict[str, Any], **values: Tensor
        ) -> TunedWeights:
            return cls(prior=prior, prior_hash=prior_hash, form=form, recipe=recipe, values=values)

        return restored(cls.name, made, tensors, about, _ABOUT)


_ABOUT = "prior", "prior_hash", "form", "recipe"
