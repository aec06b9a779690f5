"""A soft layer over the source: its opacity at every place and its content are optimised together."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.core.types import Latent, Mask


@dataclass(frozen=True, eq=False)
class Composite:
    """source + opacity (colour - source), with colour = source + change / first.

    theta (b, c + 1, h, w) holds the change and the logit of the opacity, which is `first` everywhere at the start:
    there, a step equals that of the latent. Where steps agree, the layer becomes more opaque and they grow; where they
    only fluctuate, it stays thin. `source` (b or 1, c, h, w) is the latent below the layer.
    """

    source: Latent
    first: float = 0.2

    def start(self, x: Latent) -> Tensor:
        """A layer that shows x (b, c, h, w); it changes nothing where x is the source."""
        logit = torch.full_like(x[:, :1], math.log(self.first / (1 - self.first)))
        return torch.cat([x - self.source.to(x), logit], dim=1)

    def __call__(self, theta: Tensor) -> Latent:
        return self.source.to(theta) + self.opacity(theta) / self.first * theta[:, :-1]

    def opacity(self, theta: Tensor) -> Mask:
        """The opacity of the layer at every place, (b, 1, h, w): a soft mask of the edit."""
        return theta[:, -1:].sigmoid()
