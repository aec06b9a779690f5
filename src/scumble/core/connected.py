"""Connected parts of a mask. Numpy only: the scenes world uses it, too."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Labels = NDArray[np.int32]


def connected(mask: Bools) -> Labels:
    """The 4-connected parts of a mask (h, w), labelled 1 .. n; 0 elsewhere.

    Each row's runs of pixels are joined with the overlapping runs of the row above, by union-find.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    edges: NDArray[np.int8] = np.diff(padded.ravel())
    starts: NDArray[np.intp] = np.flatnonzero(edges == 1)
    ends: NDArray[np.intp] = np.flatnonzero(edges == -1)
    first = cast("NDArray[np.intp]", np.searchsorted(ends, starts - width - 2, side="right"))
    last = cast("NDArray[np.intp]", np.searchsorted(starts, ends - width - 2, side="left"))
    parent = list(range(len(starts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i in range(len(parent)):
        for j in range(int(first[i]), int(last[i])):
            parent[root(j)] = root(i)
    roots = np.array([root(i) for i in range(len(parent))], np.int64)
    _, names = np.unique(roots, return_inverse=True)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(names + 1, ends - starts)
    return labels


def flooded(mask: Bools, seeds: Bools) -> Bools:
    """The 4-connected parts of a mask that contain a seed; both are (h, w)."""
    labels = connected(mask)
    hit = np.zeros(labels.max(initial=0) + 1, bool)
    hit[labels[seeds]] = True
    hit[0] = False
    return hit[labels]
