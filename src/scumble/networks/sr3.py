"""SR3 (Saharia et al. 2021, arXiv:2104.07636): a network that draws a picture at twice its resolution.

It hears the up-sampled picture and a continuous noise level, so any number of steps may be sampled. For a cascade it
hears the level of conditioning augmentation, too (Ho et al. 2021, arXiv:2106.15282, section 4.2).

Departures: it is small and purely local (no attention, no norm that takes statistics over the picture), so tiles with
an overlap of `REACH` pixels give exactly what the whole picture gives. Its output is the clean picture, as a
correction of the up-sampled one: in a drawing that is nearly all there is to say, and few steps are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.core.schedule import Schedule
from scumble.core.types import Image
from scumble.networks._latents import config, digest, read, write
from scumble.networks.tower import OCTAVES, angles, sines

FACTOR = 2
"""Side of the result in that of the given picture."""

MULTIPLE = 4
"""Sides that the network takes are multiples of this."""


TILE = 512
"""Side of a tile, in pixels of the result; a multiple of `MULTIPLE`."""

MODEL_TYPE = "scumble-sr3"


@dataclass(frozen=True, kw_only=True)
class SR3Config:
    """`widths`: channels at half and at quarter resolution of the result; `blocks`: at each, on the way down and up."""

    widths: tuple[int, int] = (64, 128)
    blocks: int = 2
    level_width: int = 128

    @classmethod
    def of(cls, stated: dict[str, Any]) -> SR3Config:
        """As JSON has it."""
        widths: Any = tuple(stated["widths"])
        return cls(**(stated | {"widths": widths}))

    @property
    def reach(self) -> int:
        """Pixels of the result, at most, between an input pixel and an output pixel that it decides."""
        half = 2 + 2 * self.blocks * 2  # 3x3 convolutions at half resolution: ends and blocks
        quarter = 2 * self.blocks * 2 + 2  # blocks, and the two changes of resolution
        return -(-(2 * half + 4 * quarter) // MULTIPLE) * MULTIPLE


class SR3Network(nn.Module):
    """(x_t, up, level, noised) -> the clean picture (b, 3, H, W), H and W multiples of `MULTIPLE`.

    x_t: the noisy picture. up: the given picture, up-sampled to the same size. level: sqrt(abar), (b,), of x_t.
    noised: the standard deviation of the noise in the given picture (conditioning augmentation), (b,), 0 for none.
    """

    def __init__(self, config: SR3Config):
        super().__init__()
        self.config = config
        near, far = config.widths
        wide, n = config.level_width, config.blocks
        self.level = nn.Sequential(nn.Linear(4 * OCTAVES, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU())
        self.stem = nn.Conv2d(6 * 4, near, 3, padding=1)
        self.before = nn.ModuleList(Block(near, wide) for _ in range(n))
        self.down = nn.Conv2d(near, far, 2, stride=2)
        self.middle = nn.ModuleList(Block(far, wide) for _ in range(2 * n))
        self.up = nn.Conv2d(far, 4 * near, 1)
        self.after = nn.ModuleList(Block(near, wide) for _ in range(n))
        self.head = nn.Conv2d(near, 3 * 4, 3, padding=1)
        _silence(self.head)

    def forward(
        self, x_t: Image, up: Image, level: Float[Tensor, " b"], noised: Float[Tensor, " b"]
    ) -> Image:
        heard = [angles(a, (1 - a**2).clamp(min=0).sqrt()) for a in (level, (1 - noised**2).sqrt())]
        told = self.level(torch.cat([sines(angle) for angle in heard], 1).to(x_t))
        h = self.stem(F.pixel_unshuffle(torch.cat([x_t, up], 1), 2))
        for block in self.before:
            h = block(h, told)
        low = self.down(h)
        for block in self.middle:
            low = block(low, told)
        h = h + F.pixel_shuffle(self.up(low), 2)
        for block in self.after:
            h = block(h, told)
        return up + F.pixel_shuffle(self.head(h), 2)


class Block(nn.Module):
    """A residual block whose inner features are scaled and shifted by the levels; it begins as the identity."""

    def __init__(self, width: int, level_width: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(level_width, 2 * width)
        _silence(self.conv2)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.film(told)[..., None, None].chunk(2, 1)
        return x + self.conv2(F.silu(self.conv1(x) * (1 + scale) + shift))


def upsampled(image: Image) -> Image:
    """Bicubic (Keys, a = -1/2), as SR3 conditions: (b, 3, h, w) -> (b, 3, 2h, 2w)."""
    return F.interpolate(image, scale_factor=FACTOR, mode="bicubic", antialias=True)


def schedule() -> Schedule:
    """SR3's own levels for training: 2000 betas, evenly spaced from 1e-6 to 1e-2."""
    return Schedule.linear(2000, 1e-6, 1e-2)


class SuperResolution:
    """A trained stage: the network, the levels of conditioning augmentation that it knows, and what it reads.

    `about`: what its config.json says. `noised`: the highest level of noise in the given picture that it was trained
    on. Nothing is drawn here: `loops` samples.
    """

    def __init__(self, id: str, network: SR3Network, about: Mapping[str, Any]):
        self.id, self.about = id, about
        self.network = network.eval().requires_grad_(False)
        self.noised = float(about["noised"])
        self.hash = digest(network)

    @classmethod
    def from_folder(cls, folder: Path) -> SuperResolution:
        about = config(folder)
        network = read(folder, SR3Network(SR3Config.of(about["network"])))
        return cls(folder.resolve().name, cast(SR3Network, network), about)

    def restore(
        self,
        x_t: Image,
        up: Image,
        level: Float[Tensor, " b"],
        noised: float,
        *,
        tile: int = TILE,
        each: Callable[[], None] = lambda: None,
    ) -> Image:
        """The clean picture that the network sees in x_t, tile by tile where it is larger than `tile` pixels.

        Each tile is seen with `reach` pixels around it, and only its middle is kept: to rounding, that is what one
        call on the whole picture gives. Memory depends on the tile, not on the picture. `each` is called after every
        tile.
        """
        network, reach = self.network.to(x_t.device), self.network.config.reach
        height, width = x_t.shape[-2:]
        told = torch.full_like(level, noised)
        out = torch.empty_like(x_t)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                bottom, right = min(top + tile, height), min(left + tile, width)
                y, x = max(top - reach, 0), max(left - reach, 0)
                part = (..., slice(y, bottom + reach), slice(x, right + reach))
                seen = network(x_t[part], up[part], level, told)
                out[..., top:bottom, left:right] = seen[..., top - y : bottom - y, left - x : right - x]
                each()
        return out


def save(folder: Path, network: SR3Network, **about: Any) -> None:
    """config.json and the weights, in half precision: a folder for `SuperResolution.from_folder`."""
    stated = {"model_type": MODEL_TYPE, "factor": FACTOR, "network": asdict(network.config), **about}
    write(folder, network, stated)


def _silence(layer: nn.Module) -> None:
    """All weights zero: what it would add is not there at first."""
    for p in layer.parameters():
        nn.init.zeros_(p)
