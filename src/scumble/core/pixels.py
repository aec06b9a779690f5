"""8-bit pictures: conversion to and from images in [-1, 1], and the difference between two pictures."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scumble.core.types import Image

Pixels = NDArray[np.uint8]
"""(h, w, 3), sRGB."""

SAME = 99.0  # dB of two equal pictures


def to_pixels(image: Tensor) -> Pixels:
    """(..., 3, H, W) in [-1, 1], clamped -> uint8 (..., H, W, 3)."""
    values = image.detach().float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return values.movedim(-3, -1).cpu().numpy()


def to_images(pixels: Sequence[Pixels] | Pixels) -> Image:
    """uint8 (b, H, W, 3) -> float32 (b, 3, H, W) in [-1, 1]."""
    values = torch.as_tensor(np.array(pixels), device="cpu").movedim(-1, -3)
    return values.float().div_(127.5).sub_(1).contiguous()


def rms(a: Pixels, b: Pixels) -> float:
    """The root mean square difference, in 8-bit steps; of any selection of values, but not of none."""
    return float(np.sqrt(np.square(a.astype(np.float64) - b).mean()))


def psnr(a: Pixels, b: Pixels) -> float:
    """The peak signal-to-noise ratio in dB, at most `SAME`, the value for equal pictures."""
    error = rms(a, b)
    return min(20 * math.log10(255 / error), SAME) if error else SAME
