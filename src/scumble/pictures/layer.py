"""The layer: pixels that were not edited stay exactly the input's.

A diffusion model returns a whole picture that is slightly changed everywhere. The difference of two decodes,
D1 - D0 with D0 = decode(encode(input)) and D1 the edited picture, separates the edit from the codec's losses.
Where this difference is small, the layer's opacity is exactly 0 and the input's own pixels show through,
bit for bit and at the input's own resolution.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from scumble.core.connected import flooded
from scumble.pictures.canvas import Box, Fit, upright
from scumble.pictures.reading import Picture

if TYPE_CHECKING:
    from torch import Tensor

Keep = Literal["auto"] | float
Floats = NDArray[np.floating[Any]]
"""(h, w) or (h, w, 3), on the picture's part of the canvas."""

# Differences are in [-1, 1] units. Lengths are in pixels of a canvas of 128 and grow with it.
NOISE = 3.0  # "auto": the threshold in units of the median difference,
LEAST, MOST = 0.05, 0.1  # kept between what codecs blur and what would show as a ghost of the old colour
WHOLE = 0.9  # "auto": where a larger share of the picture changed, all of it did
GAP = 3  # half the width of gaps in the edit that are closed
EDGE = 1  # half the width of the soft edge, and how far the edit is widened before
ALIKE = 0.8, 0.95  # correlations of D0 and D1 from which detail comes back, and comes back in full
FLAT = 3 * 0.06**2  # variance that counts as none: SSIM's (0.03 * range)^2, in three channels
STRIP = 256  # rows at a time, so that a large picture needs no large floats


@dataclass(frozen=True, eq=False)
class Layer:
    """The overlay on the input: `colour` (RGB) and `opacity` (8-bit grey), both of the input's size.

    `threshold`: the smallest difference that counted as a change, in [-1, 1] units; 0 if there was no threshold.
    """

    colour: Image.Image
    opacity: Image.Image
    threshold: float = 0.0

    @property
    def changed(self) -> float:
        """The share of the pixels whose opacity is above 0, in [0, 1]."""
        return 1 - self.opacity.histogram()[0] / (self.opacity.width * self.opacity.height)

    def over(self, picture: Image.Image) -> Image.Image:
        """The layer over an RGB picture of its size: exactly the picture's pixels where the opacity is 0."""
        return Image.composite(self.colour, picture, self.opacity)

    def rgba(self) -> Image.Image:
        """The layer as one RGBA image, for image editors; black where it is transparent."""
        seen = self.opacity.point([0] + [255] * 255)
        sheet = Image.composite(self.colour, Image.new("RGB", self.colour.size), seen)
        sheet.putalpha(self.opacity)
        return sheet

    def within(self, mask: Image.Image) -> Layer:
        """The layer with its opacity multiplied by an 8-bit mask of its size."""
        return replace(self, opacity=ImageChops.multiply(self.opacity, mask))

    def placed(self, box: Box, size: tuple[int, int]) -> Layer:
        """A layer of the part `box` as a layer of the whole picture, whose `size` is (width, height)."""
        colour, opacity = Image.new("RGB", size), Image.new("L", size)
        colour.paste(self.colour, box)
        opacity.paste(self.opacity, box)
        return replace(self, colour=colour, opacity=opacity)


def opaque(after: Tensor, fit: Fit) -> Layer:
    """A canvas image (1, 3, H, W) as a layer that covers the input completely."""
    return Layer(upright(after, fit), Image.new("L", fit.size, 255))


def lift(before: Tensor, after: Tensor, picture: Picture, fit: Fit, keep: Keep = "auto") -> Layer:
    """The edit as a layer over the picture.

    Args:
        before: D0, the codec's own picture of the input, (1, 3, H, W) in [-1, 1] on the canvas.
        after: D1, the method's picture, likewise.
        keep: the threshold in [-1, 1] units, 0 to 2: where the difference, averaged over RGB and a few pixels, is
            smaller, the input stays. "auto": from the noise floor of the difference; 0 if most of the picture changed.
    """
    d0, d1 = _inner(before, fit), _inner(after, fit)
    values, threshold = opacity(d1 - d0, keep)
    # Bilinear, because it never rings: what is 0 stays 0.
    shown = _to8bit(values * 255).resize(fit.size, Image.Resampling.BILINEAR)
    return Layer(_colour(d0, d1, picture.rgb, fit, shown.getbbox()), shown, threshold)


def opacity(delta: Floats, keep: Keep = "auto") -> tuple[Floats, float]:
    """The layer's opacity (h, w) in [0, 1] from the difference D1 - D0 (h, w, 3), and the threshold used.

    The opacity rises with the smoothed difference, from 0 at the threshold to 1 at twice the threshold, so a change
    that fades leaves no seam. A region that nowhere reaches 1 is noise and is removed. A hole that nowhere falls to
    0, or is narrow, would let the old picture show through and is filled. Then the edge is moved out a little and
    softened.
    """
    d = _smooth(np.abs(delta).mean(2))
    threshold = _auto(d, delta) if keep == "auto" else float(keep)
    ramp = np.clip(d / max(threshold, 1e-6) - 1, 0, 1)
    soft = ramp * ramp * (3 - 2 * ramp)
    soft[~flooded(soft > 0, soft == 1)] = 0
    soft[~flooded(soft < 1, soft == 0)] = 1
    if keep == "auto" and (soft > 0).mean() > WHOLE:
        return np.ones_like(soft), threshold
    closed = -_widest(-_widest(soft, GAP), GAP)
    return _mean(_widest(closed, 2 * EDGE), EDGE), threshold


def _auto(d: Floats, delta: Floats) -> float:
    """The threshold of a picture: well above its noise floor, if a change stands out from it.

    The noise floor is the median, since most of the picture is usually not edited. A median above MOST shows that
    most of it is, and so does a common shift of most pixels in one direction: noise goes both ways.
    """
    floor, shift = float(np.median(d)), float(np.abs(np.median(delta, (0, 1))).mean())
    threshold = min(max(NOISE * floor, LEAST), MOST)
    return threshold if floor < MOST and shift < LEAST and d.max() > 2 * threshold else LEAST


def _colour(d0: Floats, d1: Floats, picture: Image.Image, fit: Fit, box: Box | None) -> Image.Image:
    """D1 at the picture's size, inside `box`, with the input's detail wherever D1 keeps the input's structure.

    The detail is what the input lost to the canvas's resolution and to the codec: input - C and C - D0, with C the
    input on the canvas. A recoloured object thus keeps its grain and edges. Where D1 shows another object, the
    detail of the old one would be a ghost, so D1 is used alone.
    """
    colour = Image.new("RGB", fit.size)
    if box is None:
        return colour
    small = picture.resize(fit.inner, Image.Resampling.LANCZOS)
    gain = _gain(d0, d1)
    lost = np.asarray(small, np.float32) / 127.5 - 1 - d0
    layers = _to8bit((d1 + gain[..., None] * lost + 1) * 127.5), small, _to8bit(gain * 255)
    x, y = fit.inner[0] / fit.size[0], fit.inner[1] / fit.size[1]
    left, top, right, bottom = box
    for upper in range(top, bottom, STRIP):
        lower = min(upper + STRIP, bottom)
        on_canvas = (left * x, upper * y, right * x, lower * y)
        edited, blurred, share = (
            np.asarray(layer.resize((right - left, lower - upper), Image.Resampling.LANCZOS, on_canvas))
            for layer in layers
        )
        strip = (left, upper, right, lower)
        detail = np.asarray(picture.crop(strip), np.float32) - blurred
        colour.paste(_to8bit(edited + share[..., None] / np.float32(255) * detail), strip)
    return colour


def _gain(d0: Floats, d1: Floats) -> Floats:
    """How much of the input's detail to add to D1 at each pixel, (h, w) in [0, 1].

    The slope of a regression of D1 on D0 over the neighbouring pixels and channels, where the two correlate: 1 where
    D1 varies like D0 or both are flat, less where D1 has less contrast, 0 where D1 has other edges.
    """
    v0, v1 = d0 - _smooth(d0), d1 - _smooth(d1)
    both, v0, v1 = (_smooth(v.sum(2)) for v in (v0 * v1, v0 * v0, v1 * v1))
    both, v0, v1 = both + FLAT, v0 + FLAT, v1 + FLAT
    alike = (both / np.sqrt(v0 * v1) - ALIKE[0]) / (ALIKE[1] - ALIKE[0])
    return np.clip(alike, 0, 1) * np.clip(both / v0, 0, 1)


def _inner(image: Tensor, fit: Fit) -> Floats:
    """The canvas image without its padding, (h, w, 3)."""
    (left, top), (w, h) = fit.offset, fit.inner
    inner = image.detach()[0, :, top : top + h, left : left + w].float().clamp(-1, 1)
    return inner.permute(1, 2, 0).cpu().numpy()


def _to8bit(values: Floats) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def _pixels(length: float, field: Floats) -> int:
    return max(1, round(length * max(field.shape[:2]) / 128))


def _smooth(field: Floats) -> Floats:
    """A nearly Gaussian mean, some pixels wide: three box filters."""
    return _mean(_mean(_mean(field, 1), 1), 1)


def _mean(field: Floats, radius: float) -> Floats:
    """The mean over a square around each pixel; the border is extended by its edge pixels."""
    r = _pixels(radius, field)
    for axis in (0, 1):
        sums = np.cumsum(_padded(field, axis, r + 1, r), axis, dtype=np.float64)
        first, last = np.split(sums, [-(2 * r + 1)], axis)[0], np.split(sums, [2 * r + 1], axis)[1]
        field = ((last - first) / (2 * r + 1)).astype(np.float32)
    return field


def _widest(field: Floats, radius: float) -> Floats:
    """The maximum over a square around each pixel."""
    r = _pixels(radius, field)
    for axis in (0, 1):
        wide = _padded(field, axis, r, r)
        moved = (wide.take(range(i, i + field.shape[axis]), axis) for i in range(2 * r + 1))
        field = functools.reduce(np.maximum, moved)
    return field


def _padded(field: Floats, axis: int, before: int, after: int) -> Floats:
    sides = [(before, after) if i == axis else (0, 0) for i in range(field.ndim)]
    return np.pad(field, sides, mode="edge")
