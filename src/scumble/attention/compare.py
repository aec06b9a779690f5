"""How far the cross-attention of targets is from that of their sources (Parmar et al. 2023, arXiv:2302.03027,
section 3.3), differentiably.
"""

import math

import torch
from torch import Tensor

from scumble.core.control import Now, Site


class Compare:
    """An attention control: it keeps the maps of the "source" rows until their next call, and adds the differences of
    the "target" rows to `loss`.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Site, str], Tensor] = {}
        self._losses: list[Tensor] | None = None

    def wants(self, site: Site) -> bool:
        return site.kind == "cross"

    def measure(self) -> None:
        """From now on, calls of the targets count, until `loss` is read."""
        self._losses = []

    def loss(self) -> Tensor:
        """(targets,): the squared difference to the source's maps, summed over pixels, tokens and sites, averaged
        over heads and the two sides of guidance.
        """
        assert self._losses is not None, "measure() comes first"
        total, self._losses = torch.stack(self._losses).sum(0), None
        return total

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        maps = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        sides = ("null", "text")
        for side in sides:
            if rows := now.find(("source", side)):
                self._kept[site, side] = maps[rows].detach()
        if self._losses is not None:
            theirs = {side: maps[rows] for side in sides if (rows := now.find(("target", side)))}
            apart = [(maps - self._kept[site, side]) ** 2 for side, maps in theirs.items()]
            self._losses.append(torch.stack([x.sum((2, 3)).mean(1) for x in apart]).mean(0))
        return maps @ v.to(maps.dtype)

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        return h
