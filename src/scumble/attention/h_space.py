"""Edits of the bottleneck of a U-Net, its h-space (Kwon et al. 2023, arXiv:2210.10960)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scumble.core.control import TARGET, Now, Row, Site
from scumble.core.types import Time

Shift = Callable[[Tensor, Time], Tensor]
"""(h (rows, c, h, w), t (rows,)) -> what an attribute adds to h, of its shape."""


class HSpace:
    """keep h + sum over attributes of weight D(h, t), at the bottleneck, in the rows named `row`."""

    def __init__(self, shifts: Sequence[tuple[Shift, float]], *, row: Row = TARGET, keep: float = 1.0):
        self._shifts, self._row, self._keep = shifts, row, keep

    def wants(self, site: Site) -> bool:
        return site.kind == "mid"

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        raise TypeError("HSpace wants no attention")

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        rows = now.find(self._row)
        if not rows:
            return h
        index = torch.tensor(rows, device=h.device)
        own, t = h[index], now.t[rows]
        moved = self._keep * own
        for shift, weight in self._shifts:
            moved = moved + weight * shift(own, t)
        return h.index_copy(0, index, moved.to(h.dtype))
