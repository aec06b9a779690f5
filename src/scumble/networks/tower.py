"""A small network that looks at latents at any noise level: what our classifier and our CLIP have in common."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8
OCTAVES = 6  # of the sines that tell the noise level


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """`channels` of a latent; `widths` at full, half, quarter ... resolution; `blocks` at each but the first."""

    channels: int = 8
    widths: tuple[int, ...] = (64, 96, 192)
    blocks: int = 1
    level_width: int = 128

    @classmethod
    def of(cls, stated: dict[str, Any]) -> "TowerConfig":
        """As JSON has it."""
        widths: Any = tuple(stated["widths"])
        return cls(**(stated | {"widths": widths}))


class Tower(nn.Module):
    """(x_t (b, c, h, w), angle (b,)) -> (feature (b, 2 d), maps). Latents may have any size.

    `angle` tells the noise level: atan(sigma / alpha), 0 for clean latents. `maps`: the features of every resolution.
    """

    def __init__(self, config: TowerConfig):
        super().__init__()
        widths = config.widths
        self.level = nn.Sequential(
            nn.Linear(2 * OCTAVES, config.level_width),
            nn.SiLU(),
            nn.Linear(config.level_width, config.level_width),
        )
        self.stem = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.first = Block(widths[0], config.level_width)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(width, config.level_width) for _ in range(config.blocks))
            for width in widths[1:]
        )
        self.norm = nn.GroupNorm(GROUPS, widths[-1])
        self.width = 2 * widths[-1]

    def forward(self, x: Tensor, angle: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        level = self.level(sines(angle).to(x))
        h = self.first(self.stem(x), level)
        maps = [h]
        for down, blocks in zip(self.downs, self.blocks, strict=True):
            h = down(h)
            for block in _modules(blocks):
                h = block(h, level)
            maps.append(h)
        h = F.silu(self.norm(h))
        return torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1), tuple(maps)


class Block(nn.Module):
    """A residual block whose second norm is scaled and shifted by the noise level."""

    def __init__(self, width: int, level_width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(level_width, 2 * width)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(level)[..., None, None].chunk(2, 1)
        return x + self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))


def sines(angle: Tensor) -> Tensor:
    """(b,) -> (b, 2 OCTAVES)."""
    waves = angle[:, None] * torch.tensor([2.0**k for k in range(OCTAVES)], device=angle.device)
    return torch.cat([waves.sin(), waves.cos()], 1)


def angles(alpha: Tensor, sigma: Tensor) -> Tensor:
    """atan(sigma / alpha): 0 is clean, pi / 2 pure noise."""
    return torch.atan2(sigma, alpha).flatten().clamp(0, math.pi / 2)


def _modules(blocks: nn.Module) -> Sequence[nn.Module]:
    return list(blocks.children())
