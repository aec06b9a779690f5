"""Stage two of the recipe: the text encoder and the denoising U-Net, trained together on the codec's latents.

v-prediction on Stable Diffusion's noise levels: its weighting asks for layout and colour (high noise) as much as for
outlines (low noise), which a small network with little time learns faster than eps-prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scumble.core.pixels import to_images
from scumble.core.schedule import Schedule
from scumble.scenes.grammar import caption, full_caption
from scumble.scenes.world import Scene

from .data import SIDE, canvases
from .run import Run
from .tokenizer import LENGTH, new_tokenizer


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Everything that decides the network's weights, apart from the machine's arithmetic."""

    minutes: float = 90
    seed: int = 0
    channels: tuple[int, ...] = (64, 128, 128)
    heads: tuple[int, ...] = (2, 4, 4)
    attention: tuple[bool, ...] = (True, True, False)
    text_width: int = 128
    text_layers: int = 3
    batch: int = 32
    bank: int = 20_000
    bank_share: float = 0.06
    rate: float = 1e-3
    ema: float = 0.999
    unprompted: float = 0.1
    full: float = 0.5


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


def spell_out_attention(model: TextToNoise) -> None:
    """Plain matrix products and a softmax instead of the fused kernel, whose backward pass is slow on CPUs.

    The same function of the same weights: training took 1.5 times as many pictures per second so.
    """
    from diffusers.models.attention_processor import AttnProcessor

    model.unet.set_attn_processor(AttnProcessor())
    model.text_encoder.set_attn_implementation("eager")


def new_unet(recipe: DenoiserRecipe) -> Any:
    """An untrained UNet2DConditionModel."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config: dict[str, Any] = {
        "sample_size": SIDE // 8,
        "in_channels": 4,
        "out_channels": 4,
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


def new_bank(codec: Any, scale: float, recipe: DenoiserRecipe, run: Run) -> tuple[Tensor, list[Scene]]:
    """Latents (n, 4, 16, 16) of unit variance, and their scenes: drawn once, captioned anew at every visit.

    n is `recipe.bank`, or what `recipe.bank_share` of the budget suffices for.
    """
    latents, scenes = [], []
    stream = canvases(recipe.seed + 1000 + run.step)
    enough = run.progress + recipe.bank_share
    codec = codec.to(run.device).eval()
    while not scenes or (len(scenes) < recipe.bank and run.progress < enough):
        batch = [next(stream) for _ in range(min(100, recipe.bank))]
        scenes += [scene for scene, _ in batch]
        images = to_images([canvas for _, canvas in batch]).to(run.device)
        with torch.no_grad(), run.autocast():
            latents.append(codec.encode(images).latent_dist.mean.float() * scale)
    return torch.cat(latents), scenes


def prompt(scene: Scene, rng: np.random.Generator, recipe: DenoiserRecipe) -> str:
    """What the network is told of a scene: nothing, everything, or something in varied words."""
    if rng.random() < recipe.unprompted:
        return ""
    if rng.random() < recipe.full:  # nothing unsaid: the clearest lesson in what belongs to which object
        return full_caption(scene, rng.permutation(len(scene.things)).tolist())
    return caption(scene, rng)


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's noise levels: float32 (1000,)."""
    schedule = Schedule.from_config(SCHEDULER)
    assert schedule.abar is not None
    return schedule.abar.float()


def train_denoiser(
    codec: Any, scale: float, recipe: DenoiserRecipe, folder: Path, start: TextToNoise | None = None
) -> Any:
    """Train, log to `folder/denoiser.jsonl`, checkpoint, resume; returns the EMA weights in evaluation mode.

    start: networks to begin from (a warm start with a fresh optimiser) instead of random ones.
    """
    torch.manual_seed(recipe.seed)
    model = start or TextToNoise(recipe)
    if not torch.cuda.is_available():
        spell_out_attention(model)
    run = Run("denoiser", folder, model, rate=recipe.rate, minutes=recipe.minutes, ema=recipe.ema)
    latents, scenes = new_bank(codec, scale, recipe, run)
    rng = np.random.default_rng([12, recipe.seed, run.step])
    tokenizer = new_tokenizer()
    abar = alphas_cumprod().to(run.device)
    with run:
        while run.going():
            picked = rng.integers(len(scenes), size=recipe.batch)
            texts = [prompt(scenes[int(i)], rng, recipe) for i in picked]
            ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(
                run.device
            )
            x0 = latents[torch.from_numpy(picked).to(run.device)]
            eps = torch.randn_like(x0)
            # one time from each of `batch` equal strata: the same uniform law, less variance between steps
            strata = (torch.arange(recipe.batch) + torch.rand(recipe.batch)) / recipe.batch
            t = (strata * len(abar)).long().to(run.device)
            alpha, sigma = abar[t, None, None, None].sqrt(), (1 - abar[t, None, None, None]).sqrt()
            with run.autocast():
                v = run.model(alpha * x0 + sigma * eps, t, ids)
            loss = (v.float() - (alpha * eps - sigma * x0)).square().mean()
            run.update(loss, pictures=recipe.batch)
    return run.finish()
