"""The layer: what was not edited stays the input's own pixels.

A diffusion model returns a whole picture, a little changed everywhere. The difference of two decodes,
D1 - D0 with D0 = decode(encode(input)) and D1 the edited picture, tells the edit from the codec's losses;
where that difference is small, the layer's opacity is exactly 0 and the input's own pixels show through,
bit for bit and at the input's own resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from scumble.canvas import Fit, upright
from scumble.core.errors import InputError
from scumble.files import Picture

if TYPE_CHECKING:
    from torch import Tensor

Keep = Literal["auto"] | float
Field = np.ndarray
"""(h, w) or (h, w, 3) float32."""

LEAST, MOST = 0.05, 0.1  # the threshold's bounds under "auto": below it the codec's noise, above it ghosts


@dataclass(frozen=True, eq=False)
class Layer:
    """What lies over the input: `colour` RGB and `opacity` 8-bit grey, both of the input's size.

    `threshold`: the difference in [-1, 1] units that counts as a change; 0 where nothing was decided.
    """

    colour: Image.Image
    opacity: Image.Image
    threshold: float = 0.0

    @property
    def changed(self) -> float:
        """The share of pixels with opacity above 0."""
        return 1 - self.opacity.histogram()[0] / (self.opacity.width * self.opacity.height)

    def over(self, picture: Image.Image) -> Image.Image:
        """The layer over an RGB picture of its size: exactly the picture's pixels where the opacity is 0."""
        return Image.composite(self.colour, picture, self.opacity)

    def rgba(self) -> Image.Image:
        """The layer as one RGBA picture, as image editors take it; transparent pixels are black."""
        sheet = Image.composite(self.colour, Image.new("RGB", self.colour.size), self.opacity.point(_any))
        sheet.putalpha(self.opacity)
        return sheet

    def within(self, mask: Image.Image) -> Layer:
        """The layer where an 8-bit mask of its size is white, and nothing where it is black."""
        from PIL import ImageChops

        return replace(self, opacity=ImageChops.multiply(self.opacity, mask))

    def placed(self, box: tuple[int, int, int, int], size: tuple[int, int]) -> Layer:
        """The layer of the part `box` (left, top, right, bottom) as a layer of the whole, (width, height)."""
        colour, opacity = Image.new("RGB", size), Image.new("L", size)
        colour.paste(self.colour, box)
        opacity.paste(self.opacity, box)
        return replace(self, colour=colour, opacity=opacity)


def _any(value: int) -> int:
    return 255 if value else 0


def opaque(after: Tensor, fit: Fit) -> Layer:
    """The whole canvas's image (1, 3, H, W) as a layer that hides the input everywhere."""
    return Layer(upright(after, fit), Image.new("L", fit.size, 255))


def lift(before: Tensor, after: Tensor, picture: Picture, fit: Fit, keep: Keep = "auto") -> Layer:
    """The edit as a layer over the picture.

    Args:
        before: D0, the codec's own picture of the input, (1, 3, H, W) in [-1, 1] on the canvas.
        after: D1, the method's picture, likewise.
        keep: the difference, averaged over RGB, from which a pixel counts as changed, 0 to 2;
            "auto": by the picture's own noise floor.

    Raises:
        InputError: a threshold that is out of range.
    """
    if keep != "auto" and not 0 <= keep <= 2:
        raise InputError(f"keep: {keep} is not a threshold between 0 and 2; 0.05 to 0.1 suits most edits")
    d = np.abs(_field(after, fit) - _field(before, fit)).mean(2)
    threshold = LEAST if keep == "auto" else keep
    opacity = np.clip(d / max(threshold, 1e-6) - 1, 0, 1)
    drawn = Image.fromarray((opacity * 255).round().astype(np.uint8)).resize(
        fit.size, Image.Resampling.BILINEAR
    )
    return Layer(upright(after, fit), drawn, threshold)


def _field(image: Tensor, fit: Fit) -> Field:
    """The picture's part of the canvas, (h, w, 3); the padding does not count."""
    (left, top), (w, h) = fit.offset, fit.inner
    inner = image.detach()[0, :, top : top + h, left : left + w].float().clamp(-1, 1)
    return inner.permute(1, 2, 0).cpu().numpy()
