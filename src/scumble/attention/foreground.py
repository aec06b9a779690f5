"""Foreground and background that do not attend to each other (MasaCtrl: Cao et al. 2023, section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.attention.inject import Follow, Sites, Window
from scumble.attention.maps import Record
from scumble.core.control import Now, Row, Site


@dataclass(frozen=True, eq=False)
class Foreground:
    """Places of the target's object attend only to the source's object, and all other places only to the rest of the
    source.

    attention(q, K_s, V_s; M_s) where M_t = 1, attention(q, K_s, V_s; 1 - M_s) elsewhere (eqs. 6 to 8). It works on
    maps of targets that already have their sources' keys. The masks are where the maps of `words` (n + K, L) of the n
    sources and K targets, in the current call so far and at `record`'s one `stride`, exceed `threshold` between their
    minimum and maximum.
    """

    record: Record
    source: Row
    target: Row
    stride: int
    words: Tensor
    threshold: float
    sites: Sites
    follows: Sequence[Follow]
    window: Window

    def wants(self, site: Site) -> bool:
        return self.record.wants(site) or self.sites(site)

    def open(self, now: Now) -> bool:
        return bool(self.window.at(float(now.t[0])))

    def __call__(self, site: Site, maps: Tensor, now: Now) -> Tensor:
        if site.kind == "cross":
            self.record.during(now)
            return self.record(site, maps, now)
        if not self.record.has_seen(now):  # no words have been looked at in this call yet
            return maps
        sources, targets = self.masks(site.grid(now.latent))
        changed = maps.clone()
        for target, source in self.follows:
            rows = now.find(target)
            theirs = sources.expand(len(rows), -1) if len(now.find(source)) == 1 else sources[: len(rows)]
            changed[rows] = _within(maps[rows], targets[: len(rows)], theirs)
        return changed

    def masks(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The sources' (n, h w) and the targets' (K, h w) foreground, on a grid of `size`."""
        both = [self.record.at(row, self.stride) for row in (self.source, self.target)]
        maps = torch.cat(both)
        values = (maps * self.words.to(maps)[:, :, None, None]).sum(1, keepdim=True)
        least, most = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
        level = (values - least) / (most - least).clamp_min(torch.finfo(values.dtype).tiny)
        found = torch.nn.functional.interpolate(level, size).flatten(1) >= self.threshold
        return found[: len(both[0])], found[len(both[0]) :]


def _within(maps: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
    """Maps (b, heads, q, k) kept where the masks ours (b, q) and theirs (b, k) agree, each summing to 1 again; a
    place that finds nothing of its kind looks everywhere.
    """
    kept = maps * (ours[:, None, :, None] == theirs[:, None, None, :])
    total = kept.sum(-1, keepdim=True)
    return torch.where(total > 0, kept / total.clamp_min(torch.finfo(maps.dtype).tiny), maps)
