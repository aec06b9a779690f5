"""Pixels through the encoder: the picture itself is optimised, at its own resolution, without a decoder."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from scumble.core.prior import Prior
from scumble.core.types import Image, Latent
from scumble.forms.pace import pace


@dataclass(frozen=True, eq=False)
class EncodedPixels:
    """theta (b, 3, H, W) is the picture, in units for which a method's rates keep their meaning for the latent.

    `image` (b or 1, 3, H, W) is the start. Encoders respond to fine patterns that are invisible to the eye: expect
    some.
    """

    prior: Prior
    image: Image

    def start(self, x: Latent) -> Tensor:
        """The image, one row for each of x (b, c, h, w)."""
        return (self.image / self._pace).expand(len(x), -1, -1, -1).to(x)

    def __call__(self, theta: Tensor) -> Latent:
        return self.prior.encode(self.picture(theta))

    def picture(self, theta: Tensor) -> Image:
        """The picture (b, 3, H, W) itself; not clamped."""
        return theta * self._pace

    @cached_property
    def _pace(self) -> float:
        return pace(self.prior, self.image)
