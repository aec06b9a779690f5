"""Stage one of the recipe: the codec, an AutoencoderKL from 128x128 pixels to 4x16x16 latents.

The network is convolutional, and most of a scene is background: the first part of the budget is spent on crops around
the objects (four times as many per second, all of them hard), the second on whole canvases, which set the statistics
that group normalisation sees at use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scumble.core.pixels import to_images

from .data import SIDE, canvases
from .run import Run


@dataclass(frozen=True, kw_only=True)
class CodecRecipe:
    """Everything that decides the codec's weights, apart from the machine's arithmetic."""

    minutes: float = 45
    seed: int = 0
    channels: tuple[int, ...] = (16, 32, 64, 64)
    groups: int = 8
    latent_channels: int = 4
    crop: int = 64
    crop_share: float = 0.65
    batch: int = 8
    rate: float = 1.5e-3
    kl: float = 1e-4


def new_codec(recipe: CodecRecipe) -> Any:
    """An untrained AutoencoderKL; no attention, so that a crop teaches what the whole needs."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    depth = len(recipe.channels)
    config: dict[str, Any] = {
        "block_out_channels": recipe.channels,
        "down_block_types": ("DownEncoderBlock2D",) * depth,
        "up_block_types": ("UpDecoderBlock2D",) * depth,
        "layers_per_block": 1,
        "latent_channels": recipe.latent_channels,
        "norm_num_groups": recipe.groups,
        "sample_size": SIDE,
        "mid_block_add_attention": False,
    }
    return AutoencoderKL(**config)


def crops(seed: int, batch: int, side: int) -> Iterator[Tensor]:
    """Image batches (batch, 3, side, side), each crop placed so that it meets an object."""
    rng = np.random.default_rng([11, seed])
    stream = canvases(seed)
    while True:
        picked = []
        for _, (scene, canvas) in zip(range(batch), stream, strict=False):
            thing = scene.things[int(rng.integers(len(scene.things)))]
            x, y = (c * SIDE - side / 2 + rng.uniform(-side / 3, side / 3) for c in thing.centre())
            left, top = (int(np.clip(v, 0, SIDE - side)) // 8 * 8 for v in (x, y))
            picked.append(canvas[top : top + side, left : left + side])
        yield to_images(picked)


def wholes(seed: int, batch: int) -> Iterator[Tensor]:
    """Image batches (batch, 3, SIDE, SIDE)."""
    stream = canvases(seed)
    while True:
        yield to_images([canvas for _, (_, canvas) in zip(range(batch), stream, strict=False)])


def codec_loss(codec: Any, images: Tensor, kl: float) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error): L1 + MSE on pixels, and a small pull of the latents towards N(0, 1)."""
    posterior = codec.encode(images).latent_dist
    error = codec.decode(posterior.sample()).sample.float() - images
    mse = error.square().mean()
    return error.abs().mean() + mse + kl * posterior.kl().mean() / posterior.mean[0].numel(), mse


def train_codec(recipe: CodecRecipe, folder: Path, start: Any = None) -> Any:
    """Train, log to `folder/codec.jsonl`, checkpoint, resume; returns the EMA weights in evaluation mode.

    start: an AutoencoderKL to begin from instead of random weights.
    """
    torch.manual_seed(recipe.seed)
    run = Run(
        "codec", folder, start or new_codec(recipe), rate=recipe.rate, minutes=recipe.minutes, ema=0.999
    )
    whole = wholes(recipe.seed + 2 + 10 * run.step, recipe.batch)
    part = crops(recipe.seed + 1 + 10 * run.step, recipe.batch * 4, recipe.crop)
    with run:
        while run.going():
            images = next(part if run.progress < recipe.crop_share else whole).to(run.device)
            with run.autocast():
                loss, mse = codec_loss(run.model, images, recipe.kl)
            run.update(loss, psnr=(-10 * torch.log10(mse.detach() / 4)), pictures=len(images))
    return run.finish()


@torch.no_grad()
def latent_scale(codec: Any, seed: int, count: int = 2000) -> float:
    """The factor that brings latents (posterior means) to unit variance: 1 / std over `count` canvases."""
    device = next(codec.parameters()).device
    stream = wholes(seed, 50)
    means = [codec.encode(next(stream).to(device)).latent_dist.mean for _ in range(max(count // 50, 1))]
    return 1 / float(torch.cat(means).std())
