"""Recolouring: a table of colours moves, and with it all pixels of a colour alike, so that nothing can change place."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from scumble.core.prior import Prior
from scumble.core.types import Image, Latent


@dataclass(frozen=True, eq=False)
class LUT:
    """The latent of `image` (1, 3, H, W) seen through a 3-D look-up table of n**3 colours, trilinear between them.

    theta (b, 3, n**3) are the entries' distances from the identity, preconditioned: an entry follows the mean
    gradient of the pixels that have its colour, at the length that the latent itself would move by, so the
    rates of methods keep their meaning. Entries of colours that the image does not have follow their
    neighbours. Colours beyond [-1, 1] are cut off; their gradient is not.
    """

    prior: Prior
    image: Image
    n: int = 9

    def start(self, x: Latent) -> Tensor:
        return x.new_zeros(len(x), 3, self.n**3)

    def __call__(self, theta: Tensor) -> Latent:
        return self.prior.encode(self.apply(theta, self.image.to(theta).expand(len(theta), -1, -1, -1)))

    def apply(self, theta: Tensor, image: Image) -> Image:
        """Any image (b, 3, H, W), such as the picture at its full size, through theta's table."""
        spread, gain = (part.to(theta) for part in self._conditioning)
        entries = self._identity.to(theta) + (theta * gain) @ spread.T
        entries = entries + (entries.clamp(-1, 1) - entries).detach()
        return self._through(entries, image)

    def _through(self, entries: Tensor, image: Image) -> Image:
        # A colour is its own place in the table: red along the last axis, then green, then blue.
        table = entries.reshape(len(entries), -1, self.n, self.n, self.n)
        places = image.permute(0, 2, 3, 1)[:, None]
        return grid_sample(table, places, mode="bilinear", padding_mode="border", align_corners=True)[:, :, 0]

    @property
    def _identity(self) -> Tensor:
        """(3, n**3)."""
        levels = torch.linspace(-1, 1, self.n)
        blue, green, red = torch.meshgrid(levels, levels, levels, indexing="ij")
        return torch.stack([red, green, blue]).flatten(1)

    @cached_property
    def _conditioning(self) -> tuple[Tensor, Tensor]:
        """Where every entry takes its value from (n**3, n**3), and how far a unit of theta moves it (n**3,)."""
        image = self.image.detach().float().cpu()
        with torch.enable_grad():
            entries = torch.zeros(1, 1, self.n**3, requires_grad=True)
            (mass,) = torch.autograd.grad(self._through(entries, image).sum(), entries)
        mass = mass.flatten()
        seen = mass > 0
        places = self._identity.T * (self.n - 1) / 2
        near = -torch.cdist(places, places).square()
        spread = near.masked_fill(~seen, -torch.inf).softmax(1)
        spread[seen] = torch.eye(len(mass))[seen]
        with torch.no_grad():
            stride = image.shape[-1] / self.prior.encode(self.image).shape[-1]
        # A latent cell is a mean of stride**2 pixels, so each pixel's gradient is that much smaller.
        return spread, torch.where(seen, stride / mass.clamp(min=1e-3).sqrt(), 0)
