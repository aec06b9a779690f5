"""An edit as a direction between two kinds of sentences (Parmar et al. 2023, arXiv:2302.03027, section 3.1)."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from scumble.artifacts.origin import restored
from scumble.core.errors import InputError
from scumble.core.prior import Prior

TEMPLATES = ("{}", "a {}", "the {}", "a small {}", "a large {}", "a picture of a {}")  # a word's bank
CHUNK = 64  # sentences embedded at once


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Two banks of sentences that differ in one thing: `source` describes it now, `target` as it should be."""

    name: ClassVar[str] = "direction"

    source: tuple[str, ...]
    target: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            bank = getattr(self, name)
            if not bank or not all(isinstance(sentence, str) and sentence.strip() for sentence in bank):
                raise InputError(f"direction: its {name} bank is empty; give at least one sentence")

    def tokens(self, prior: Prior) -> Tensor:
        """(1, L, D): the mean of the target's embedded sentences less that of the source's.

        Sentences with words that the prior does not know are left out, with a warning. Raises InputError where
        none is left.
        """
        source, target = (self._known(prior, name) for name in ("source", "target"))
        return _mean(prior, target) - _mean(prior, source)

    def _known(self, prior: Prior, name: str) -> tuple[str, ...]:
        bank: tuple[str, ...] = getattr(self, name)
        words, id = prior.card.words, prior.card.id
        known = [words is None or set(re.findall(r"\w+", sentence.lower())) <= words for sentence in bank]
        if not any(known):
            raise InputError(
                f"direction: model '{id}' knows none of the {name} sentences, such as {bank[0]!r}"
            )
        if left_out := len(known) - sum(known):
            warnings.warn(
                f"direction: {left_out} of {len(known)} {name} sentences have words that model '{id}' does "
                "not know; they are left out",
                UserWarning,
                stacklevel=4,
            )
        return tuple(sentence for sentence, is_known in zip(bank, known, strict=True) if is_known)

    # As a file: JSON alone

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def about(self) -> dict[str, Any]:
        return {"source": self.source, "target": self.target}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "Direction":
        """Raises InputError where a bank is missing or empty."""
        return restored(cls.name, cls, tensors, about, ("source", "target"))

    @property
    def whole(self) -> bool:
        """Whether it has lists of sentences."""
        return all(isinstance(cast("object", bank), tuple) for bank in (self.source, self.target))


def _mean(prior: Prior, bank: tuple[str, ...]) -> Tensor:
    """(1, L, D), over the embedded sentences."""
    parts = [prior.embed(bank[i : i + CHUNK]).tokens.sum(0) for i in range(0, len(bank), CHUNK)]
    return torch.stack(parts).sum(0, keepdim=True) / len(bank)
