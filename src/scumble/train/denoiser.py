"""Stage three of the recipe: the denoising U-Net and its text encoder, trained together on the codec's latents.

v-prediction on Stable Diffusion's noise levels: its weighting asks for layout and colour (high noise) as much as for
outlines (low noise), which a small network with little time learns faster than eps-prediction.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scumble.core.schedule import Schedule
from scumble.scenes.world import VERSION

from .bank import Bank, Batch, encoder
from .captions import prompt, tokens
from .data import SIDE, canvases
from .lessons import LabelHead, Watched, pointing_loss
from .run import Run
from .tokenizer import LENGTH, new_tokenizer


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Everything that decides the network's weights, apart from the machine's arithmetic."""

    minutes: float = 90
    seed: int = 0
    latent_channels: int = 8
    channels: tuple[int, ...] = (64, 128, 128)
    heads: tuple[int, ...] = (2, 4, 4)
    attention: tuple[bool, ...] = (True, True, False)
    text_width: int = 128
    text_layers: int = 3
    batch: int = 32
    bank: int = 100_000
    first: int = 6_000
    fresh: float = 0.125
    rate: float = 1e-3
    ema: float = 0.9995
    unprompted: float = 0.1
    full: float = 0.5
    labels: float = 0.1
    pointing: float = 0.02


SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


class TextToNoise(nn.Module):
    """(noisy latents, times, token ids) -> v; the two networks that are trained as one."""

    def __init__(self, recipe: DenoiserRecipe):
        super().__init__()
        self.unet = new_unet(recipe)
        self.text_encoder = new_text_encoder(recipe)

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        tokens = self.text_encoder(ids).last_hidden_state
        return self.unet(x_t, t, encoder_hidden_states=tokens).sample


class Lessons(nn.Module):
    """The label head, and hooks into a TextToNoise for what the lessons look at."""

    def __init__(self, model: TextToNoise, recipe: DenoiserRecipe):
        super().__init__()
        block = model.unet.up_blocks[
            1
        ]  # puts out the finest feature that still has the width of the coarse ones
        self.head = LabelHead(recipe.channels[1])
        self.maps: list[Tensor] = []
        self.feature: Tensor | None = None
        block.register_forward_hook(self._keep)
        plain = Watched()
        model.unet.set_attn_processor(
            {
                name: Watched(self.maps) if name.startswith("up_blocks") else plain
                for name in model.unet.attn_processors
            }
        )
        model.text_encoder.set_attn_implementation("eager")  # the fused kernel's backward is slow on CPUs

    def _keep(self, module: nn.Module, given: Any, feature: Tensor) -> None:
        self.feature = feature

    def loss(self, batch: Batch, speaks_of: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        """(labels, pointing), unweighted. signal: (b,), abar, how much of a picture its noise leaves."""
        assert self.feature is not None
        labels = self.head.loss(self.feature, batch)
        pointing = pointing_loss(self.maps, batch, speaks_of, signal)
        self.maps.clear()
        return labels, pointing


def new_unet(recipe: DenoiserRecipe) -> Any:
    """An untrained UNet2DConditionModel."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config: dict[str, Any] = {
        "sample_size": SIDE // 8,
        "in_channels": recipe.latent_channels,
        "out_channels": recipe.latent_channels,
        "block_out_channels": recipe.channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in recipe.attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in recipe.attention[::-1]),
        "layers_per_block": 1,
        "cross_attention_dim": recipe.text_width,
        # diffusers reads it as the number of heads, as in Stable Diffusion's configs
        "attention_head_dim": recipe.heads,
        "norm_num_groups": 16,
    }
    return UNet2DConditionModel(**config)


def new_text_encoder(recipe: DenoiserRecipe) -> Any:
    """An untrained CLIPTextModel for the world's own tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer: Any = new_tokenizer()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.text_width,
            intermediate_size=4 * recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's noise levels: float32 (1000,)."""
    schedule = Schedule.from_config(SCHEDULER)
    assert schedule.abar is not None
    return schedule.abar.float()


@dataclass
class Validation:
    """Pictures, captions, noise and times that stay the same throughout a run."""

    latents: Tensor
    ids: Tensor
    eps: Tensor
    t: Tensor

    @classmethod
    def of(cls, encode: Any, recipe: DenoiserRecipe, count: int) -> Validation:
        rng = np.random.default_rng(8)
        bank = Bank(canvases(1, "validation"), encode, recipe.latent_channels, count)
        bank.grow(count)
        batch = bank.batch(np.arange(count))
        texts = [prompt(s, rng, unprompted=0, full=recipe.full) for s in batch.scenes]
        ids, _ = tokens(new_tokenizer(), texts, batch.scenes)
        eps = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(8))
        return cls(batch.latents, ids, eps, torch.arange(count) * 1000 // count)

    @torch.no_grad()
    def losses(self, run: Run, abar: Tensor) -> list[float]:
        """v-prediction loss of the averaged weights, for each quarter of the noise levels."""
        model = run.accelerator.unwrap_model(run.model)
        now = [p.detach().clone() for p in model.parameters()]
        for p, average in zip(model.parameters(), run.average, strict=True):
            p.data.copy_(average)
        found: list[Tensor] = []
        for k in range(0, len(self.t), 32):
            x0, eps, t, ids = (
                v[k : k + 32].to(run.device) for v in (self.latents, self.eps, self.t, self.ids)
            )
            with run.autocast():
                found.append(_errors(model, x0, eps, t, ids, abar))
        for p, value in zip(model.parameters(), now, strict=True):
            p.data.copy_(value)
        return [round(float(part.mean()), 5) for part in torch.cat(found).chunk(4)]


def digest(codec: Any) -> str:
    """Which encoder this is: latents of one mean nothing to another. The decoder may still be trained on."""
    found = hashlib.sha256()
    for name, value in codec.state_dict().items():
        if name.startswith(("encoder.", "quant_conv.")):
            found.update(value.half().numpy(force=True).tobytes())
    return found.hexdigest()[:12]


def _errors(model: Any, x0: Tensor, eps: Tensor, t: Tensor, ids: Tensor, abar: Tensor) -> Tensor:
    """Mean squared error of the predicted v, one a picture."""
    alpha, sigma = abar[t, None, None, None].sqrt(), (1 - abar[t, None, None, None]).sqrt()
    v = model(alpha * x0 + sigma * eps, t, ids).float()
    return (v - (alpha * eps - sigma * x0)).square().mean((1, 2, 3))


def train_denoiser(codec: Any, recipe: DenoiserRecipe, folder: Path, start: TextToNoise | None = None) -> Any:
    """Train, log to `folder/denoiser.jsonl`, checkpoint, resume; returns the EMA weights in evaluation mode.

    codec: frozen; its latents times its `scaling_factor` have unit variance. start: networks to begin from (a warm
    start with a fresh optimiser) instead of random ones.
    """
    torch.manual_seed(recipe.seed)
    model = start or TextToNoise(recipe)
    lessons = Lessons(model, recipe)
    run = Run(
        "denoiser", folder, model, rate=recipe.rate, minutes=recipe.minutes, ema=recipe.ema,
        recipe=asdict(recipe) | {"world": VERSION, "codec": digest(codec)}, extra=lessons,
    )  # fmt: skip
    torch.manual_seed(recipe.seed + run.step)
    rng = np.random.default_rng([12, recipe.seed, run.step])
    encode = encoder(codec, run.autocast, run.device)
    validation = Validation.of(encode, recipe, min(256, recipe.bank))
    bank = Bank(canvases(recipe.seed + 1000 + run.step), encode, recipe.latent_channels, recipe.bank)
    bank.grow(min(recipe.first, recipe.bank))
    tokenizer, abar = new_tokenizer(), alphas_cumprod().to(run.device)
    lessons.maps.clear()
    with run:
        while run.going():
            if run.step % 8 == 0:
                bank.grow(min(max(round(8 * recipe.batch * recipe.fresh), 1), recipe.bank))
            batch = bank.batch(rng.integers(bank.count, size=recipe.batch))
            texts = [prompt(s, rng, unprompted=recipe.unprompted, full=recipe.full) for s in batch.scenes]
            ids, speaks_of = (x.to(run.device) for x in tokens(tokenizer, texts, batch.scenes))
            batch = batch.to(run.device)
            eps = torch.randn_like(batch.latents)
            # one time from each of `batch` equal strata: the same uniform law, less variance between steps
            strata = (torch.arange(recipe.batch) + torch.rand(recipe.batch)) / recipe.batch
            t = (strata * len(abar)).long().to(run.device)
            with run.autocast():
                mse = _errors(run.model, batch.latents, eps, t, ids, abar).mean()
                labels, pointing = lessons.loss(batch, speaks_of, abar[t])
            loss = mse + recipe.labels * labels + recipe.pointing * pointing
            run.update(
                loss,
                pictures=recipe.batch,
                mse=mse.detach(),
                labels=labels.detach(),
                pointing=pointing.detach(),
            )
            if run.due:
                run.note(validation=validation.losses(run, abar))
                lessons.maps.clear()
                run.save()
    return run.finish()
