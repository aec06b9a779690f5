"""LocalBlend: places that the named words do not attend to keep the source's content (authors' code of Hertz et al.
2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.attention.inject import Window
from scumble.attention.maps import Record
from scumble.attention.words import Region, factors
from scumble.core.control import Row
from scumble.core.errors import InputError
from scumble.core.masks import blend_rows
from scumble.core.text import Text
from scumble.core.types import Latent


@dataclass(frozen=True, eq=False)
class LocalBlend:
    """Masks from the maps that `record` has collected so far at its one `stride`, for n sources and K targets.

    `words` and `without` (n + K, L) mark the tokens whose places may change, and those whose places are removed again.
    `threshold` and `threshold_without` are shares of a row's largest value.
    """

    record: Record
    source: Row
    target: Row
    stride: int
    words: Tensor
    without: Tensor
    threshold: float
    threshold_without: float
    window: Window

    def mask(self, size: tuple[int, int]) -> Tensor:
        """(n + K, 1, h, w) in {0, 1}: each row's own places, joined with its source's, without the removed ones."""
        maps = torch.cat([self.record.at(row, self.stride) for row in (self.source, self.target)])
        mask = self._union(_above(maps, self.words, self.threshold, size, pool=True))
        if bool(self.without.any()):
            taken = self._union(_above(maps, self.without, self.threshold_without, size, pool=False))
            mask = mask & ~taken
        return mask.float()

    def _union(self, mask: Tensor) -> Tensor:
        n = len(self.record.at(self.source, self.stride))
        source, target = mask[:n], mask[n:]
        return torch.cat([source, source | target])

    def __call__(self, x: Latent, t: float) -> Latent:
        """x (n + K, c, h, w), sources first, after a step from t: the targets' with the source's background."""
        if not bool(self.window.at(t)):
            return x
        mask = self.mask((x.shape[-2], x.shape[-1])).to(x)
        n = len(self.record.at(self.source, self.stride))
        return blend_rows(x, n, mask[n:])


def places(regions: Sequence[Region], source: Text, target: Text) -> tuple[Tensor, Tensor]:
    """`words` and `without` of a LocalBlend: one region for all prompts, or one for the sources and one for all
    targets or for each.

    Raises InputError for a word that its prompts lack.
    """
    if len(regions) == 1:
        groups = [(Text.cat([source, target]), regions[0])]
    elif len(regions) == 2:
        groups = [(source, regions[0]), (target, regions[1])]
    elif len(regions) == 1 + len(target):
        groups = [(source, regions[0]), *((target.take([k]), r) for k, r in enumerate(regions[1:]))]
    else:
        raise InputError(
            f"blend: {len(regions) - 1} regions for {len(target)} targets; give one, or one each"
        )
    marked = [
        [factors(text, dict.fromkeys(words, 1.0), 0.0) for words in (region.words, region.without)]
        for text, region in groups
    ]
    words, without = (torch.cat(rows) for rows in zip(*marked, strict=True))
    return words, without


def _above(maps: Tensor, tokens: Tensor, threshold: float, size: tuple[int, int], *, pool: bool) -> Tensor:
    """Where the tokens' maps (b, L, h, w) together exceed a share of their largest value; (b, 1, *size)."""
    values = (maps * tokens.to(maps)[:, :, None, None]).sum(1, keepdim=True)
    if pool:
        values = torch.nn.functional.max_pool2d(values, 3, stride=1, padding=1)
    values = torch.nn.functional.interpolate(values, size)
    return values / values.amax((2, 3), keepdim=True) > threshold  # 0 / 0 is above nothing
