"""The autoencoders of latent diffusion models: how each class is asked, and the scale of its latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scumble.core.types import Latent
from scumble.priors._conditions import Config
from scumble.priors._families import DC_AE, FLUX2_VAE, QWEN_VAE, VAE


@dataclass(frozen=True)
class Scale:
    """latent = (z - shift) * scale of what the encoder gives: numbers, or tiles (1, c, k, k) repeated over the latent,
    k being 2 where each cell of a patch has numbers of its own.
    """

    scale: float | Tensor
    shift: float | Tensor

    def to(self, z: Latent) -> Latent:
        return (z - _tiled(self.shift, z)) * _tiled(self.scale, z)

    def back(self, latent: Latent) -> Latent:
        return latent / _tiled(self.scale, latent) + _tiled(self.shift, latent)


def _tiled(tile: float | Tensor, z: Latent) -> float | Tensor:
    if not isinstance(tile, Tensor):
        return tile
    side, (height, width) = tile.shape[-1], z.shape[-2:]
    return tile.to(z).repeat(1, 1, -(-height // side), -(-width // side))[..., :height, :width]


@dataclass(frozen=True)
class Kind:
    """A class of autoencoders. `stride`: pixels per cell, by its config; `scale`: of its latents; `moments`: the mean
    of an image's latent and, where that is a distribution, its log variance: (b, c, h, w) or (b, 2 c, h, w); `picture`:
    of a latent; `channels`: the name of c in its config.
    """

    stride: Callable[[Config], int]
    scale: Callable[[Any], Scale]
    moments: Callable[[Any, Tensor], Tensor]
    picture: Callable[[Any, Tensor], Tensor]
    channels: str = "latent_channels"


def _by_blocks(config: Config) -> int:
    return 2 ** (len(config["block_out_channels"]) - 1)


def _moments(vae: Any, x: Tensor) -> Tensor:
    return vae.encode(x).latent_dist.parameters


def _picture(vae: Any, z: Tensor) -> Tensor:
    return vae.decode(z).sample


def _scale(vae: Any) -> Scale:
    return Scale(vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0)


def _flux2_scale(vae: Any) -> Scale:
    """Mean and deviation of every channel of a patch of 2 x 2 cells, which training counted."""
    bn, channels = vae.bn, vae.config.latent_channels
    mean, var = (x.detach().float().reshape(1, channels, 2, 2) for x in (bn.running_mean, bn.running_var))
    return Scale((var + vae.config.batch_norm_eps).rsqrt(), mean)


def _qwen_scale(vae: Any) -> Scale:
    mean, std = (
        torch.tensor(each).reshape(1, -1, 1, 1) for each in (vae.config.latents_mean, vae.config.latents_std)
    )
    return Scale(1 / std, mean)


def _first_frame(of: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Of an autoencoder of videos, for which a picture is one frame."""
    return lambda vae, x: of(vae, x[:, :, None])[:, :, 0]


KINDS: Mapping[str, Kind] = {
    VAE: Kind(_by_blocks, _scale, _moments, _picture),
    FLUX2_VAE: Kind(_by_blocks, _flux2_scale, _moments, _picture),
    QWEN_VAE: Kind(
        lambda config: 2 ** len(config["temperal_downsample"]),
        _qwen_scale,
        _first_frame(_moments),
        _first_frame(_picture),
        "z_dim",
    ),
    DC_AE: Kind(
        lambda config: 2 ** (len(config["encoder_block_out_channels"]) - 1),
        _scale,
        lambda vae, x: vae.encode(x).latent,
        _picture,
    ),
}
"""By the place of the class, as in `Family.parts`."""
