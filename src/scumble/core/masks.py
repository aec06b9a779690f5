"""Masks (b or 1, 1, h, w): 1 = may change, 0 = must stay. The one place that blends changed values into kept ones."""

import torch
from torch import Tensor

from scumble.core.types import Mask


def blend(kept: Tensor, changed: Tensor, mask: Mask | None) -> Tensor:
    """kept + mask (changed - kept); `changed` if there is no mask."""
    return changed if mask is None else kept + mask * (changed - kept)


def blend_rows(x: Tensor, n: int, mask: Mask | None) -> Tensor:
    """x holds n source rows and, below them, target rows: the targets, outside the mask, are their sources."""
    return x if mask is None else torch.cat([x[:n], blend(x[:n], x[n:], mask)])
