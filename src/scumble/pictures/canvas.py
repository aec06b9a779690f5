"""Maps a picture onto the prior's canvas, and maps the result back.

A picture is scaled so that its long side fits the canvas, keeps its aspect ratio, and is padded with its edge
colours. The result loses the padding and is resized to the picture's size: upright, 8-bit, grey if a grey picture
stayed grey, else RGB. Pixels that a mask protects are exactly the picture's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from scumble.pictures.reading import Picture

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, as Pillow has it."""

VISIBLE = [0] + [255] * 255  # maps an alpha channel to a mask of the visible pixels
GREY_TOLERANCE = 8  # 8-bit steps between channels that are not visible as colour


@dataclass(frozen=True)
class Fit:
    """Where a picture lies on the canvas. All pairs are in pixels: (width, height), or (left, top) for `offset`.

    size: the picture. inner: the picture scaled to the canvas. offset: its upper left corner. canvas: the canvas.
    """

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

    @classmethod
    def within(cls, size: tuple[int, int], canvas: tuple[int, int]) -> Fit:
        """Fit `size` into a canvas of a given size, centred and as large as possible."""
        scale = min(canvas[0] / size[0], canvas[1] / size[1])
        w, h = (max(1, min(round(side * scale), most)) for side, most in zip(size, canvas, strict=True))
        return cls(size, (w, h), ((canvas[0] - w) // 2, (canvas[1] - h) // 2), canvas)

    def pad(self, array: np.ndarray) -> np.ndarray:
        """Pad an array (inner h, inner w, ...) to (canvas H, canvas W, ...) by repeating its edge pixels."""
        (left, top), (w, h), (W, H) = self.offset, self.inner, self.canvas
        sides = [(top, H - h - top), (left, W - w - left)] + [(0, 0)] * (array.ndim - 2)
        return np.pad(array, sides, mode="edge")


def crop_box(mask: Image.Image, size: tuple[int, int], least: int = 1) -> Box | None:
    """The part of a picture to edit at full resolution: a square around the mask's bounding box, a third longer.

    Args:
        mask: 8-bit grey, of the picture's size; above 0 may change.
        size: the picture's, (width, height).
        least: the shortest side in pixels. With the canvas's long side, no crop is enlarged.

    Returns:
        The square, shifted into the picture and clipped to it. None if it would be as long as the picture, so that
        nothing would get sharper, or if the mask is all black.
    """
    found = mask.getbbox()
    if found is None:
        return None
    left, top, right, bottom = found
    side = max(math.ceil(max(right - left, bottom - top) * 4 / 3), least)
    if side >= max(size):
        return None
    w, h = min(side, size[0]), min(side, size[1])
    x = min(max((left + right - w) // 2, 0), size[0] - w)
    y = min(max((top + bottom - h) // 2, 0), size[1] - h)
    return x, y, x + w, y + h


def crop(picture: Picture, box: Box) -> Picture:
    """Cut `box` out of a picture. The part keeps the name and the digest of the whole."""
    alpha = None if picture.alpha is None else picture.alpha.crop(box)
    hidden = None if picture.hidden is None else picture.hidden.crop(box)
    return replace(picture, rgb=picture.rgb.crop(box), alpha=alpha, hidden=hidden)


def to_canvas(picture: Picture, fit: Fit) -> Tensor:
    """The picture on the canvas: float32 (1, 3, H, W) in [-1, 1]."""
    from scumble.core.pixels import to_images

    return to_images([fit.pad(np.asarray(picture.rgb.resize(fit.inner, Image.Resampling.LANCZOS)))])


def mask_to_canvas(mask: Image.Image, fit: Fit) -> Tensor:
    """The mask on the canvas: float32 (1, 1, H, W) in [0, 1], 1 = may change. Box filtering keeps it from ringing."""
    import torch

    values = fit.pad(np.asarray(mask.resize(fit.inner, Image.Resampling.BOX)))
    return torch.as_tensor(values)[None, None].float() / 255


def upright(image: Tensor, fit: Fit) -> Image.Image:
    """A canvas image (1, 3, H, W) without its padding, as an RGB image of the picture's size."""
    from scumble.core.pixels import to_pixels

    (left, top), (w, h) = fit.offset, fit.inner
    inner = to_pixels(image[0])[top : top + h, left : left + w]
    return Image.fromarray(inner).resize(fit.size, Image.Resampling.LANCZOS)


def from_canvas(image: Tensor, picture: Picture, fit: Fit, mask: Image.Image | None = None) -> Image.Image:
    """A canvas image (1, 3, H, W) as a picture with the input's size, mode and colour profile.

    `mask`: 8-bit grey, of the picture's size. Where it is 0, each pixel is exactly the input's; grey values blend.
    """
    edited = upright(image, fit)
    if mask is not None:
        edited = paste(picture.rgb, edited, mask)
    return finish(edited, picture)


def filled(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """The picture with the colours of what is visible spread over what is fully transparent."""
    weight = np.asarray(alpha).astype(np.float32)
    if weight.all() or not weight.any():
        return rgb
    colours = np.asarray(rgb)
    spread = np.rint(_spread(colours * weight[..., None], weight)).astype(np.uint8)
    return Image.fromarray(np.where(weight[..., None] > 0, colours, spread))


def _spread(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means, from weighted sums (h, w, 3) and weights (h, w): where nothing weighs, the mean of the smallest
    block around that has a weight.
    """
    h, w = weight.shape
    there = weight[..., None] > 0
    means = total / np.where(there, weight[..., None], 1)
    if there.all():
        return means
    sides = ((0, h % 2), (0, w % 2))
    total, weight = np.pad(total, (*sides, (0, 0))), np.pad(weight, sides)
    blocks = (weight.shape[0] // 2, 2, weight.shape[1] // 2, 2)
    coarse = _spread(total.reshape(*blocks, 3).sum((1, 3)), weight.reshape(blocks).sum((1, 3)))
    return np.where(there, means, coarse.repeat(2, 0).repeat(2, 1)[:h, :w])


def paste(below: Image.Image, above: Image.Image, mask: Image.Image) -> Image.Image:
    """`above` over `below`: exactly `below` where the mask is 0, exactly `above` where it is 255."""
    return Image.composite(above, below, mask)


def finish(rgb: Image.Image, picture: Picture) -> Image.Image:
    """Edited RGB colours with the input's alpha and colour profile; grey if the input was grey and no colour shows."""
    if picture.grey:
        channels = np.asarray(rgb).astype(np.int16)
        if np.ptp(channels, axis=2).max() <= GREY_TOLERANCE:
            rgb = rgb.convert("L")
    if picture.alpha is not None:
        if picture.hidden is not None:  # what nobody sees stays what it was
            rgb = Image.composite(rgb, picture.hidden.convert(rgb.mode), picture.alpha.point(VISIBLE))
        rgb.putalpha(picture.alpha)
    if picture.icc is not None:
        rgb.info["icc_profile"] = picture.icc
    return rgb
