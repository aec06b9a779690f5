"""Recolouring: a table of colours is optimised. All pixels of a colour change equally, so nothing moves."""

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from scumble.core.host import isolated
from scumble.core.pixels import to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.types import Image, Latent
from scumble.forms.pace import pace

if TYPE_CHECKING:
    from PIL import Image as PIL

SMOOTH = 1e-3  # the share of the picture against which neighbouring entries of the table hold together
STRIP = 256  # rows of a large picture at a time


@dataclass(frozen=True, eq=False)
class LUT:
    """The latent of `image` (1, 3, H, W) seen through a 3-D look-up table of n^3 colours, trilinear between
    them.

    theta (b, 3, n^3) is how far the table is from the identity, in coordinates that keep the rates of methods
    what they are for the latent: a step moves each entry by the mean step of the pixels that have its colour,
    smoothed over neighbouring entries, which colours that the image does not have follow. theta = 0 changes
    nothing, exactly. Colours beyond [-1, 1] are cut off; their gradient is not.
    """

    prior: Prior
    image: Image
    n: int = 9

    def start(self, x: Latent) -> Tensor:
        """Zeros (b, 3, n^3), one row for each of x (b, c, h, w)."""
        return x.new_zeros(len(x), 3, self.n**3)

    def __call__(self, theta: Tensor) -> Latent:
        """The recoloured image's latents, one row for each of theta; differentiable."""
        return self.prior.encode(self.apply(theta, self.image.to(theta)))

    def apply(self, theta: Tensor, image: Image) -> Image:
        """Images (b or 1, 3, H, W), of any size, through theta's tables; differentiable in theta."""
        moved = image + self._read(theta @ self._whitening.to(theta), image)
        return moved + (moved.clamp(-1, 1) - moved).detach()

    @isolated()
    def recolour(self, theta: Tensor, picture: "PIL.Image") -> "PIL.Image":
        """An RGB picture of any size through the table of theta (1, 3, n^3)."""
        import numpy as np
        from PIL import Image

        theta, done = theta.float().cpu(), picture.copy()
        for top in range(0, picture.height, STRIP):
            strip = picture.crop((0, top, picture.width, min(top + STRIP, picture.height)))
            (pixels,) = to_pixels(self.apply(theta, to_images([np.asarray(strip)])))
            done.paste(Image.fromarray(pixels), (0, top))
        return done

    def _read(self, table: Tensor, image: Image) -> Image:
        """What the table (b, c, n^3) holds at the image's colours (b or 1, 3, H, W): (b, c, H, W)."""
        # A colour is its own place in the table: red along the last axis, then green, then blue.
        table = table.reshape(*table.shape[:2], self.n, self.n, self.n)
        places = image.permute(0, 2, 3, 1)[:, None].expand(len(table), -1, -1, -1, -1)
        return grid_sample(table, places, padding_mode="border", align_corners=True)[:, :, 0]

    @cached_property
    def _whitening(self) -> Tensor:
        """M (n^3, n^3), symmetric: theta moves the table by theta M.

        Where the table moves, pixels move by W, whose rows sum to 1, and latents by gain / stride more: all that
        a latent cell's stride^2 pixels do to it. W'W is at most diag(mass), mass the sum of W's columns, so with
        M = pace (diag(mass) + springs)^(-1/2) no step along a gradient overshoots, and one that is the
        same for all pixels has the latent's own length.
        """
        image = self.image.detach().float().cpu()
        with torch.enable_grad():
            table = torch.zeros(1, 1, self.n**3, dtype=torch.float32, requires_grad=True)
            (mass,) = torch.autograd.grad(self._read(table, image).sum(), table)
        mass = mass.flatten().double()
        metric = torch.diag(mass) + SMOOTH * mass.sum() * _springs(self.n)
        values, vectors = cast(tuple[Tensor, Tensor], torch.linalg.eigh(metric))  # pyright: ignore
        return pace(self.prior, self.image) * (vectors * values.rsqrt()) @ vectors.T


def _springs(n: int) -> Tensor:
    """The Laplacian of an n x n x n lattice: (n^3, n^3), x' S x = the sum of squared differences of neighbours."""
    one = torch.eye(n, dtype=torch.float64)
    steps = one[1:] - one[:-1]
    along = steps.T @ steps
    axes = ((along, one, one), (one, along, one), (one, one, along))
    return torch.stack([functools.reduce(torch.kron, factors) for factors in axes]).sum(0)
