"""An inversion: the path of states that leads to a picture. It is made once and used by many edits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scumble.artifacts.origin import check_origin, restored
from scumble.core.errors import InputError
from scumble.core.prior import Card, NullText, Text
from scumble.core.types import Image, Latent, Pair, Time


@dataclass(frozen=True, kw_only=True, eq=False)
class Inversion:
    """The sampling paths of b pictures under their source prompts, one state per move of `pairs`.

    `trajectory` (n + 1, b, c, h, w): the state before each of the n moves, noisiest first, and the clean
    latent last. An editor starts from its first state and need not know how it was made; besides:
    `nulls` (n, b, L, D): the tokens of the null text at each move (null-text inversion), and `pooled` (n, b, P)
    its pooled embedding where it is another than the negative prompt's (negative-prompt inversion), `masks` (n, b, L)
    which of those tokens count, on models that mask;
    `noises` (n, b, c, h, w): what each move adds to a DDPM step's mean (edit-friendly inversion), or to that of
    its solver of `order` 2;
    `forced`: the source's rows stand on the trajectory again after each move (direct inversion), or
    `offsets` (n, b, c, h, w) are added to them, the same thing measured beforehand.
    `kind` and `settings` say how it was made; `prior`, `prior_hash`, `size` (H, W), `pictures` (digests),
    `prompts`, `guidance` and `negative` (None: any) for what.
    """

    name: ClassVar[str] = "inversion"

    kind: str
    prior: str
    prior_hash: str
    size: tuple[int, int]
    pictures: tuple[str, ...]
    prompts: tuple[str, ...]
    pairs: tuple[Pair, ...]
    trajectory: Tensor
    nulls: Tensor | None = None
    pooled: Tensor | None = None
    masks: Tensor | None = None
    noises: Tensor | None = None
    offsets: Tensor | None = None
    order: int = 1
    forced: bool = False
    guidance: float | None = None
    negative: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __len__(self) -> int:
        """The number of pictures: the rows of a source branch."""
        return self.trajectory.shape[1]

    # What an editor asks of it. `sizes`: the rows of each of the editor's branches, one below the other.

    def start(self, *sizes: int) -> Latent:
        """The noisiest state, in the rows of all branches."""
        return self._rows(self.trajectory[0], sizes)

    def at(self, s: float) -> Latent:
        """The source's state (b, c, h, w) at level s of the grid. Raises InputError for any other level."""
        return self.trajectory[self._number(s)]

    def after(self, x_s: Latent, s: float) -> Latent:
        """The state after a move to level s; its first b rows, the source's, are corrected if the kind does so."""
        if self.offsets is not None:
            source = x_s[: len(self)] + self.offsets[self._number(s) - 1].to(x_s)
        elif self.forced:
            source = self.at(s).to(x_s)
        else:
            return x_s
        return torch.cat([source, x_s[len(self) :]])

    def _number(self, s: float) -> int:
        levels = [*(t for t, _ in self.pairs), self.pairs[-1][1]]
        if s not in levels:
            raise InputError(f"inversion: it has no state at level {s:g}; its levels are {levels}")
        return len(levels) - 1 - levels[::-1].index(s)

    def null(self, text: Text) -> NullText:
        """The null text at every time of the grid: the stored embeddings in all rows of `text`, or `text`."""
        if self.nulls is None:
            return text
        moves = {t: k for k, (t, _) in enumerate(self.pairs)}
        nulls, pooled, masks = self.nulls, self.pooled, self.masks

        def at(t: Time) -> Text:
            move, rows = moves[t[0].item()], [len(text)]
            null = text.spelling_nothing(nulls.shape[2]) if masks is not None else text
            null = replace(null, tokens=self._rows(nulls[move], rows).to(text.tokens))
            if masks is not None:
                null = replace(null, mask=self._rows(masks[move], rows).to(text.tokens.device))
            if pooled is None:
                return null
            return replace(null, pooled=self._rows(pooled[move], rows).to(text.tokens))

        return at

    def added(self, x_s: Latent, s: float, *sizes: int) -> Latent:
        """The state after a move to level s with what the noise maps add, in the rows of all branches."""
        if self.noises is None:
            return x_s
        return x_s + self._rows(self.noises[self._number(s) - 1], sizes).to(x_s)

    def skip(self, moves: int) -> "Inversion":
        """The inversion without its first moves: for an edit that starts at less noise, closer to the picture.

        Raises InputError where none is left, and for noise maps of a higher order, of which each needs the move before.
        """
        if not 0 <= moves < len(self.pairs):
            raise InputError(f"skip: {moves} of {len(self.pairs)} moves; at least one must be left")
        if moves and self.noises is not None and self.order > 1:
            raise InputError(
                f"inversion: it starts {moves} moves before this edit, but its moves build on each other (order "
                f"{self.order}); invert the picture again with this edit's own start"
            )
        rest = {name: x[moves:] for name, x in self.tensors().items()}
        return replace(self, pairs=self.pairs[moves:], **rest)

    def to(self, device: torch.device) -> "Inversion":
        """The same on another device."""
        return replace(self, **{name: x.to(device) for name, x in self.tensors().items()})

    @staticmethod
    def _rows(x: Tensor, sizes: Sequence[int]) -> Tensor:
        if any(len(x) not in (1, size) for size in sizes):
            raise InputError(f"inversion: it holds {len(x)} pictures, which cannot start {sizes[-1]} rows")
        return torch.cat([x.expand(size, *x.shape[1:]) for size in sizes])

    def check(self, card: Card, image: Image, prompts: Sequence[str], pairs: Sequence[Pair]) -> None:
        """Raises InputError unless it was made with this prior, at this size and grid, from these pictures."""
        again = "invert the picture again"
        check_origin(self, card, image, prompts, again)
        if self.pairs != tuple(pairs):
            raise InputError(
                f"inversion: made on a grid of {len(self.pairs)} steps from level {self.pairs[0][0]:g}, but "
                f"this edit takes {len(pairs)} from {pairs[0][0]:g}; set steps={len(self.pairs)}, or {again}"
            )

    # As a file: tensors and JSON

    def tensors(self) -> dict[str, Tensor]:
        """The parts that are stored as tensors."""
        named = {
            name: getattr(self, name)
            for name in ("trajectory", "nulls", "pooled", "masks", "noises", "offsets")
        }
        return {name: x for name, x in named.items() if x is not None}

    def about(self) -> dict[str, Any]:
        """The parts that are stored as JSON."""
        return {name: getattr(self, name) for name in _ABOUT}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "Inversion":
        """The inversion from its stored `tensors` and `about`.

        Raises InputError if they are incomplete, contradict each other or are not numbers.
        """
        return restored(cls.name, cls, tensors, about, _ABOUT)

    @property
    def whole(self) -> bool:
        """Whether the sizes of its parts fit together."""
        n, b = len(self.pairs), len(self.pictures)
        whole = self.trajectory.ndim == 5 and self.trajectory.shape[:2] == (n + 1, len(self.prompts))
        whole &= b in (1, len(self.prompts)) and n > 0 and all(len(pair) == 2 for pair in self.pairs)
        steps = [x for name, x in self.tensors().items() if name != "trajectory"]
        return whole and all(x.shape[:2] == (n, len(self)) for x in steps)


_ABOUT = (
    "kind", "prior", "prior_hash", "size", "pictures", "prompts", "pairs", "order", "forced", "guidance", "negative",
    "settings",
)  # fmt: skip
