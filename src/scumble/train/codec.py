"""Stage one of the recipe: the codec, an AutoencoderKL from 128x128 pixels to 8x16x16 latents.

The network is convolutional, and most of a scene is background: the first part of the budget is spent on crops around
the objects (four times as many per second, all of them hard), the second on whole canvases, which set the statistics
that group normalisation sees at use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scumble.core.pixels import to_images

from .data import SIDE, Canvas, canvases
from .run import Run


@dataclass(frozen=True, kw_only=True)
class CodecRecipe:
    """Everything that decides the codec's weights, apart from the machine's arithmetic."""

    minutes: float = 45
    seed: int = 0
    channels: tuple[int, ...] = (16, 32, 64, 64)
    groups: int = 8
    latent_channels: int = 8
    crop: int = 64
    crop_share: float = 0.7
    batch: int = 8
    rate: float = 1.5e-3
    kl: float = 2e-5
    edges: float = 0.5


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


def widened(codec: Any, recipe: CodecRecipe) -> Any:
    """The recipe's codec with the weights of one with fewer latent channels.

    New channels start alive: a random feature of the picture with little noise, faintly heard by the decoder. Started
    at zero they stay there, for noise tells the decoder nothing and the KL term pulls them to the prior.
    """
    new, had, n = new_codec(recipe), codec.config.latent_channels, recipe.latent_channels
    old = codec.state_dict()
    weights = {k: v if v.shape != old[k].shape else old[k] for k, v in new.state_dict().items()}
    means, spreads = slice(0, had), slice(n, n + had)  # rows of the encoder: means, then log variances
    for name in ("encoder.conv_out.weight", "encoder.conv_out.bias"):
        weights[name][means], weights[name][spreads] = old[name].chunk(2)
    weight, bias = weights["quant_conv.weight"].zero_(), weights["quant_conv.bias"].zero_()
    for rows, part in zip((means, spreads), old["quant_conv.weight"].chunk(2), strict=True):
        weight[rows, means], weight[rows, spreads] = part.chunk(2, dim=1)
    bias[means], bias[spreads] = old["quant_conv.bias"].chunk(2)
    weight[range(had, n), range(had, n)] = 2.0
    bias[n + had :] = -8.0
    for name in ("post_quant_conv.weight", "post_quant_conv.bias"):
        weights[name].mul_(0.1)[:had] = 0
    weights["post_quant_conv.weight"][:had, :had] = old["post_quant_conv.weight"]
    weights["post_quant_conv.bias"][:had] = old["post_quant_conv.bias"]
    weights["post_quant_conv.weight"][range(had, n), range(had, n)] = 1.0
    weights["decoder.conv_in.weight"].mul_(0.3)[:, :had] = old["decoder.conv_in.weight"]
    weights["decoder.conv_in.bias"] = old["decoder.conv_in.bias"]
    new.load_state_dict(weights)
    return new


def crops(seed: int, batch: int, side: int) -> Iterator[Tensor]:
    """Image batches (batch, 3, side, side), each crop placed so that it meets an object."""
    rng = np.random.default_rng([11, seed])
    stream = canvases(seed)
    while True:
        yield to_images([_crop(canvas, side, rng) for _, canvas in zip(range(batch), stream, strict=False)])


def _crop(canvas: Canvas, side: int, rng: np.random.Generator) -> np.ndarray:
    thing = canvas.scene.things[int(rng.integers(len(canvas.scene.things)))]
    wide, tall = max(canvas.aspect, 1.0), max(1 / canvas.aspect, 1.0)
    long = max(wide, tall)
    on_canvas = (
        (c + (long - own) / 2) / long
        for c, own in zip(thing.centre(canvas.aspect), (wide, tall), strict=True)
    )
    x, y = (c * SIDE - side / 2 + rng.uniform(-side / 3, side / 3) for c in on_canvas)
    left, top = (int(np.clip(v, 0, SIDE - side)) // 8 * 8 for v in (x, y))
    return canvas.pixels[top : top + side, left : left + side]


def wholes(seed: int, batch: int) -> Iterator[Tensor]:
    """Image batches (batch, 3, SIDE, SIDE)."""
    stream = canvases(seed)
    while True:
        yield to_images([canvas.pixels for _, canvas in zip(range(batch), stream, strict=False)])


def codec_loss(codec: Any, images: Tensor, recipe: CodecRecipe) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error): L1 + MSE on pixels, L1 on their differences (crisp edges), and a small KL term."""
    posterior = codec.encode(images).latent_dist
    loss, mse = _errors(codec.decode(posterior.sample()).sample.float() - images, recipe.edges)
    return loss + recipe.kl * posterior.kl().mean() / posterior.mean[0].numel(), mse


def _errors(error: Tensor, edges: float) -> tuple[Tensor, Tensor]:
    mse = error.square().mean()
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + mse + edges * slopes, mse


def train_codec(recipe: CodecRecipe, folder: Path, start: Any = None) -> Any:
    """Train, log to `folder/codec.jsonl`, checkpoint, resume; returns the EMA weights in evaluation mode.

    start: an AutoencoderKL to begin from instead of random weights; it may have fewer latent channels.
    """
    torch.manual_seed(recipe.seed)
    if start is not None and start.config.latent_channels < recipe.latent_channels:
        start = widened(start, recipe)
    run = Run(
        "codec",
        folder,
        start or new_codec(recipe),
        rate=recipe.rate,
        minutes=recipe.minutes,
        ema=0.999,
        recipe=asdict(recipe),
    )
    whole = wholes(recipe.seed + 2 + 10 * run.step, recipe.batch)
    part = crops(recipe.seed + 1 + 10 * run.step, recipe.batch * 4, recipe.crop)
    with run:
        while run.going():
            images = next(part if run.progress < recipe.crop_share else whole).to(run.device)
            with run.autocast():
                loss, mse = codec_loss(run.model, images, recipe)
            run.update(loss, psnr=(-10 * torch.log10(mse.detach() / 4)), pictures=len(images))
            if run.due:
                run.save()
    return run.finish()


@dataclass(frozen=True, kw_only=True)
class DecoderRecipe:
    """What decides the decoder's last weights. noise: standard deviation added to latents of unit variance."""

    minutes: float = 20
    seed: int = 0
    crop: int = 64
    crop_share: float = 0.6
    batch: int = 8
    rate: float = 1e-3
    edges: float = 0.5
    noise: float = 0.02


class Decoding(nn.Module):
    """The half of a codec that may still learn when the latents are frozen: latents (b, C, h, w) to pictures."""

    def __init__(self, codec: Any):
        super().__init__()
        self.first, self.decoder = codec.post_quant_conv, codec.decoder

    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(self.first(z))


def train_decoder(recipe: DecoderRecipe, codec: Any, folder: Path) -> Any:
    """Train the decoder alone, log to `folder/decoder.jsonl`; returns the codec with it. Latents stay what they are.

    It hears latents with a little noise, as a denoiser leaves them.
    """
    torch.manual_seed(recipe.seed)
    run = Run(
        "decoder", folder, Decoding(codec), rate=recipe.rate, minutes=recipe.minutes, ema=0.999,
        recipe=asdict(recipe),
    )  # fmt: skip
    codec.to(run.device)  # the run moves only what learns
    whole = wholes(recipe.seed + 500_002 + 10 * run.step, recipe.batch)
    part = crops(recipe.seed + 500_001 + 10 * run.step, recipe.batch * 4, recipe.crop)
    with run:
        while run.going():
            images = next(part if run.progress < recipe.crop_share else whole).to(run.device)
            with run.autocast():
                with torch.no_grad():
                    z = codec.encode(images).latent_dist.mean
                error = run.model(z + recipe.noise * torch.randn_like(z)).float() - images
            loss, mse = _errors(error, recipe.edges)
            run.update(loss, psnr=(-10 * torch.log10(mse.detach() / 4)), pictures=len(images))
            if run.due:
                run.save()
    run.finish()
    return codec.eval()


@torch.no_grad()
def standardised(codec: Any, seed: int, count: int = 2000) -> Any:
    """The codec with latents (posterior means) of mean 0 and variance 1 in every channel, over `count` canvases.

    The 1x1 convolutions on both sides of the latents take the scale and the shift, so that what the codec draws does
    not change and `scaling_factor` is 1.
    """
    device = next(codec.parameters()).device
    stream = wholes(seed, 50)
    means = torch.cat(
        [codec.encode(next(stream).to(device)).latent_dist.mean for _ in range(max(count // 50, 1))]
    )
    shift, scale = means.mean((0, 2, 3)), means.std((0, 2, 3))
    n = codec.config.latent_channels
    into, out = codec.quant_conv, codec.post_quant_conv
    out.bias += out.weight[:, :, 0, 0] @ shift
    out.weight *= scale[None, :, None, None]
    into.weight[:n] /= scale[:, None, None, None]
    into.bias[:n] = (into.bias[:n] - shift) / scale
    into.bias[n:] -= 2 * scale.log()
    codec.register_to_config(scaling_factor=1.0)
    return codec
