"""Asyrp's network: what an attribute adds to the bottleneck of a U-Net (Kwon et al. 2023, arXiv:2210.10960, figure 4).

D(h, t) = conv1x1(swish(norm(conv1x1(h) + linear(swish(embedding(t))))))
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.core.noise import Noise
from scumble.core.types import Time

GROUPS = 32  # of the norm, as in the U-Nets that it was made for; fewer where they do not divide the channels


class DeltaBlock(nn.Module):
    """h (b, channels, h, w) and its times (b,) -> what is added to h.

    It starts at 0: the last convolution has no weights yet, so an untrained attribute changes nothing.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        width = 2 * max(channels // 2, 1)
        with torch.device("meta"):  # where nothing is drawn
            self.into = nn.Conv2d(channels, channels, 1)
            self.time = nn.Linear(width, channels)
            self.norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels)
            self.out = nn.Conv2d(channels, channels, 1)
        self.to_empty(device="cpu")
        with torch.no_grad():
            for p in self.parameters():
                p.zero_()
            self.norm.weight.fill_(1)

    @classmethod
    def drawn(cls, channels: int, noise: Noise) -> DeltaBlock:
        """A new one, its weights normal with the spread that keeps a signal's."""
        block = cls(channels)
        with torch.no_grad():
            for layer in (block.into, block.time):
                flat = noise.like(layer.weight.reshape(1, -1, 1, 1))
                layer.weight.copy_(flat.reshape(layer.weight.shape) / math.sqrt(layer.weight[0].numel()))
        return block

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> DeltaBlock:
        """One with these weights, for use. Raises RuntimeError where they are not a DeltaBlock's."""
        block = cls(len(weights["out.bias"]))
        block.load_state_dict(dict(weights))
        return block.eval().requires_grad_(False)

    def forward(self, h: Tensor, t: Time) -> Tensor:
        own = self.into.weight
        x = self.into(h.to(own))
        x = x + self.time(F.silu(_embedded(t, self.time.in_features).to(own)))[:, :, None, None]
        return self.out(F.silu(self.norm(x))).to(h)


def _embedded(t: Time, width: int) -> Tensor:
    """(b, width): the sines and cosines of times 0..1000 at falling frequencies (Vaswani et al. 2017)."""
    rates = torch.exp(-math.log(10000) * torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = t.to("cpu", torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
