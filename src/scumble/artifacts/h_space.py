"""Directions in the h-space of a model: what Asyrp's small networks have learnt, one attribute each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from scumble.artifacts.origin import restored
from scumble.core.errors import InputError
from scumble.core.prior import Card


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribute:
    """One edit from `source` to `target`, in words: the weights of its network, and how much of it is taken.

    `steps`: of the grid that it was trained on; on one of n steps it counts steps / n of that. `recipe` (JSON) says
    how it was made.
    """

    source: str
    target: str
    steps: int
    weights: Mapping[str, Tensor]
    weight: float = 1.0
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True, eq=False)
class HSpaceDirection:
    """One or more attributes for the model `prior` with the hash `prior_hash`, to be taken at once."""

    name: ClassVar[str] = "direction"

    prior: str
    prior_hash: str
    attributes: tuple[Attribute, ...]

    def check(self, card: Card) -> None:
        """Raises InputError unless it was trained on this model."""
        if (self.prior, self.prior_hash) != (card.id, card.hash):
            raise InputError(
                f"direction: trained on model '{self.prior}' (hash {self.prior_hash[:8]}), but this edit uses "
                f"'{card.id}' ({card.hash[:8]}); load that model, or train the direction again on this one"
            )

    @classmethod
    def joined(
        cls, directions: Sequence["HSpaceDirection"], weights: Sequence[float | None]
    ) -> "HSpaceDirection":
        """Several at once, each by its weight; those without one share theirs: 1 / sqrt(k) each of k (the paper's
        section 5.4). Raises InputError where they belong to different models.
        """
        first = directions[0]
        for other in directions[1:]:
            if (other.prior, other.prior_hash) != (first.prior, first.prior_hash):
                raise InputError(
                    f"direction: one was trained on model '{first.prior}', another on '{other.prior}'; name "
                    "directions of one model"
                )
        usual = 1 / math.sqrt(len(directions))
        taken = [usual if weight is None else weight for weight in weights]
        attributes = tuple(
            replace(attribute, weight=attribute.weight * weight)
            for direction, weight in zip(directions, taken, strict=True)
            for attribute in direction.attributes
        )
        return replace(first, attributes=attributes)

    @property
    def whole(self) -> bool:
        """Whether there is a network for every attribute."""
        return bool(self.attributes) and all("out.bias" in each.weights for each in self.attributes)

    # As a file: tensors and JSON

    def tensors(self) -> dict[str, Tensor]:
        return {f"{i}.{k}": x for i, each in enumerate(self.attributes) for k, x in each.weights.items()}

    def about(self) -> dict[str, Any]:
        told = [asdict(replace(each, weights={})) for each in self.attributes]
        for each in told:
            del each["weights"]
        return {"prior": self.prior, "prior_hash": self.prior_hash, "attributes": told}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "HSpaceDirection":
        """Raises InputError where it is incomplete or holds no numbers."""

        def made(
            *, prior: str, prior_hash: str, attributes: Sequence[dict[str, Any]], **weights: Tensor
        ) -> HSpaceDirection:
            parts = tuple(
                Attribute(**each, weights=_part(weights, f"{i}.")) for i, each in enumerate(attributes)
            )
            return cls(prior=prior, prior_hash=prior_hash, attributes=parts)

        return restored(cls.name, made, tensors, about, ("prior", "prior_hash", "attributes"))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
