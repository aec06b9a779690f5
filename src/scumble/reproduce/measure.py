"""Measures of pictures and gradients; nothing here uses a model."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scumble.core.pixels import Pixels, rms

LUMA = (0.299, 0.587, 0.114)


def sharpness(pixels: Pixels) -> float:
    """The variance of the Laplacian of the luma, which blur reduces. In squared 8-bit steps."""
    y = pixels.astype(np.float64) @ np.array(LUMA)
    y = np.pad(y, 1, mode="edge")
    laplacian = y[1:-1, :-2] + y[1:-1, 2:] + y[:-2, 1:-1] + y[2:, 1:-1] - 4 * y[1:-1, 1:-1]
    return float(laplacian.var())


def outside(a: Pixels, b: Pixels, mask: NDArray[np.bool_] | None) -> float | None:
    """The RMS difference outside the mask, in 8-bit steps; None if there is nothing outside."""
    return None if mask is None or mask.all() else rms(a[~mask], b[~mask])


def apart(pictures: NDArray[np.uint8]) -> list[tuple[int, int, float]]:
    """(i, j, RMS difference in 8-bit steps) of all pairs of pictures (n, h, w, 3)."""
    return [(i, j, rms(pictures[i], pictures[j])) for i, j in combinations(range(len(pictures)), 2)]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine between rows, (b, ...) and (b, ...) -> (b,); 0 where either is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return torch.nn.functional.cosine_similarity(a, b, dim=1)


def norm(grad: Tensor) -> Tensor:
    """The root mean square of every row (b, ...) -> (b,)."""
    return grad.flatten(1).double().square().mean(1).sqrt()


def energy(grad: Tensor) -> Tensor:
    """The distribution of a gradient: (b, c, h, w) -> the sum of squares over the channels, (b, h, w)."""
    return grad.double().square().sum(1)


def inside(energy: Tensor, mask: Tensor) -> Tensor:
    """The share of an energy (b, h, w) that lies in a mask (b, 1, h, w), (b,)."""
    return (energy * mask[:, 0]).sum((1, 2)) / energy.sum((1, 2))
