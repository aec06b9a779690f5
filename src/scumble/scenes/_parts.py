"""The connected parts of a mask: the reader's candidates for objects."""

from __future__ import annotations

import numpy as np

from scumble.core.connected import Bools, Labels, connected

LEAST = 0.006
"""Parts of less area than this (in squares of the shorter side) are no objects."""


def parts_of(mask: Bools, least: float = LEAST) -> Labels:
    """The connected parts of a mask with holes filled, labelled 1 .. n; parts of less area than `least` are 0."""
    free = connected(~mask)
    outside = np.unique(np.concatenate([free[[0, -1]].ravel(), free[:, [0, -1]].ravel()]))
    labels = connected(mask | ~np.isin(free, outside[outside > 0]))
    sizes = np.bincount(labels.ravel())
    keep = sizes >= least * min(mask.shape) ** 2
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def pieces_of(labels: Labels, part: int) -> Labels:
    """A part, cut at its narrowest bridge: pieces 1 .. n, and -1 for all other parts."""
    mask = labels == part
    core, pieces, depth = mask, mask.astype(np.int32), 0
    while pieces.max() == 1 and depth < 8:
        core, depth = ~grown(~core), depth + 1
        pieces = parts_of(core, LEAST / 5)
    for _ in range(2 * depth):
        for k in range(1, pieces.max() + 1):
            pieces[grown(pieces == k) & mask & (pieces == 0)] = k
    pieces[(labels > 0) & ~mask] = -1
    return pieces


def grown(mask: Bools) -> Bools:
    """A mask and its neighbours above, below, left and right."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
