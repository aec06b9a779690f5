"""Attention maps to look at: which place of the picture attends to which token."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.core.control import Now, Row, Site
from scumble.core.errors import InputError
from scumble.core.text import Text


@dataclass(frozen=True, eq=False)
class Maps:
    """The cross-attention of b prompts: stride of the sites to the latent -> (b, L, h, w), averaged over heads, sites
    and calls. It sums to 1 over the tokens, unless an edit has changed it; to less in joint attention, where places
    attend to each other as well.
    """

    strides: Mapping[int, Tensor]
    text: Text

    def __getitem__(self, word: str) -> Tensor:
        """(b, 1, h, w) at the finest stride: what a word's tokens together get, the mean of all strides; 0 in
        the rows whose prompt lacks it. Raises InputError for a word that no prompt has.
        """
        finest = self.strides[min(self.strides)]
        found = torch.zeros_like(finest[:, :1])
        for row, tokens in enumerate(self.text.spans(word)):
            for maps in self.strides.values():
                one = maps[row, tokens].sum(0)[None, None]
                found[row] += resized(one, found.shape[-2:])[0] / len(self.strides)
        return found


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(b, c, h, w) -> (b, c, *size), bilinear."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return torch.nn.functional.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


class Record:
    """Sums the cross-attention of named rows, after all edits before it.

    `blocks` selects the sites; `stride`, or `settle`, can restrict them to one stride.
    """

    def __init__(
        self,
        rows: Collection[Row],
        *,
        blocks: Collection[str] = ("down", "mid", "up", "double", "single"),
        stride: int | None = None,
    ):
        self._rows, self._blocks, self._stride = tuple(rows), blocks, stride
        self._sums: dict[tuple[Row, int], Tensor] = {}
        self._heads: dict[tuple[Row, int], int] = {}
        self._call: Now | None = None

    def wants(self, site: Site) -> bool:
        return self._may(site) and self._stride in (None, site.stride)

    def _may(self, site: Site) -> bool:
        return site.kind in ("cross", "joint") and site.block in self._blocks

    def settle(self, sites: Iterable[Site], coarsest: int) -> int:
        """Restricts the record to the coarsest of a network's sites whose stride is at most `coarsest`.

        Returns their stride; raises InputError if there are none.
        """
        there = {site.stride for site in sites if self._may(site)}
        fine = [stride for stride in there if stride <= coarsest]
        if not fine:
            known = ", ".join(map(str, sorted(there))) or "none"
            raise InputError(
                f"attention: this model has no maps at a stride of {coarsest} or less; it has them at {known}"
            )
        self._stride = max(fine)
        return self._stride

    def during(self, now: Now) -> None:
        """Keeps only what belongs to this network call."""
        if self._call is not now:
            self._call = now
            self._sums.clear()
            self._heads.clear()

    def has_seen(self, now: Now) -> bool:
        """Whether anything was recorded `during` this call."""
        return self._call is now and bool(self._sums)

    def open(self, now: Now) -> bool:
        return True

    def __call__(self, site: Site, maps: Tensor, now: Now) -> Tensor:
        """Keeps maps (rows, heads, h w, L) and returns them."""
        for row in self._rows:
            if found := now.find(row):
                chosen = maps[found].detach().float()
                total = torch.unflatten(chosen.sum(1).transpose(1, 2), 2, site.grid(now.latent))
                key = row, site.stride
                self._sums[key] = self._sums[key] + total if key in self._sums else total
                self._heads[key] = self._heads.get(key, 0) + chosen.shape[1]
        return maps

    def at(self, row: Row, stride: int) -> Tensor:
        """(b, L, h, w): the mean over heads, sites and calls so far of the maps of a row at a stride."""
        return self._sums[row, stride] / self._heads[row, stride]

    def maps(self, row: Row, text: Text) -> Maps:
        """All maps of a row, with its prompts' text."""
        return Maps({stride: self.at(of, stride) for of, stride in self._sums if of == row}, text)
