"""Any picture to the prior's canvas and back.

A picture is fitted to the canvas by its long side, never squeezed, and padded by its edge colour; what
comes back is un-padded and resized to the picture's own size: upright, 8-bit, grey if a grey picture
stayed grey, else RGB. Pixels that a mask protects are the picture's own, exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from scumble.files import Picture

if TYPE_CHECKING:
    from torch import Tensor

GREY_TOLERANCE = 8  # 8-bit steps between channels that nobody sees as colour


@dataclass(frozen=True)
class Fit:
    """Where a picture lies on the canvas; all pairs are (width, height) or (left, top) in pixels."""

    size: tuple[int, int]
    inner: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], long_side: int, multiple: int) -> Fit:
        """Fit `size` into `long_side`, centred, on a canvas whose sides are multiples of `multiple`."""
        scale = long_side / max(size)
        inner = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        canvas = (math.ceil(inner[0] / multiple) * multiple, math.ceil(inner[1] / multiple) * multiple)
        offset = ((canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2)
        return cls(size, inner, offset, canvas)

    def pad(self, array: np.ndarray) -> np.ndarray:
        """(inner h, inner w, ...) to (canvas H, canvas W, ...) by repeating the nearest edge pixel."""
        (left, top), (w, h), (W, H) = self.offset, self.inner, self.canvas
        sides = [(top, H - h - top), (left, W - w - left)] + [(0, 0)] * (array.ndim - 2)
        return np.pad(array, sides, mode="edge")


def to_canvas(picture: Picture, fit: Fit) -> Tensor:
    """The picture on the canvas: float32 (1, 3, H, W) in [-1, 1]."""
    import torch

    pixels = fit.pad(np.asarray(picture.rgb.resize(fit.inner, Image.Resampling.LANCZOS)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def mask_to_canvas(mask: Image.Image, fit: Fit) -> Tensor:
    """The mask on the canvas: float32 (1, 1, H, W) in [0, 1], 1 = may change; averaged, so it never rings."""
    import torch

    values = fit.pad(np.asarray(mask.resize(fit.inner, Image.Resampling.BOX)))
    return torch.from_numpy(values)[None, None].float() / 255


def to_pixels(image: Tensor) -> Image.Image:
    """One image (3, H, W) or (1, 3, H, W) in [-1, 1], clamped, as 8-bit RGB."""
    values = image.detach().float().reshape(3, *image.shape[-2:]).clamp(-1, 1)
    return Image.fromarray(((values + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def from_canvas(image: Tensor, picture: Picture, fit: Fit, mask: Image.Image | None = None) -> Image.Image:
    """The canvas's image (1, 3, H, W) as a picture of the input's own size, kind and profile.

    Where `mask` is 0 each pixel is the input's own, exactly; where it is grey, a blend.
    """
    left, top = fit.offset
    w, h = fit.inner
    edited = to_pixels(image).crop((left, top, left + w, top + h)).resize(fit.size, Image.Resampling.LANCZOS)
    if mask is not None:
        edited = paste(picture.rgb, edited, mask)
    return _attach(edited, picture)


def paste(below: Image.Image, above: Image.Image, mask: Image.Image) -> Image.Image:
    """`above` over `below`: exactly `below` where the mask is 0, exactly `above` where it is 255."""
    return Image.composite(above, below, mask)


def _attach(rgb: Image.Image, picture: Picture) -> Image.Image:
    """Give the edited colours the input's greyness, alpha and profile."""
    if picture.grey:
        channels = np.asarray(rgb).astype(np.int16)
        if np.ptp(channels, axis=2).max() <= GREY_TOLERANCE:
            rgb = rgb.convert("L")
    if picture.alpha is not None:
        rgb.putalpha(picture.alpha)
    if picture.icc is not None:
        rgb.info["icc_profile"] = picture.icc
    return rgb
