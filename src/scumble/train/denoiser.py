"""Stage three of the recipe: the denoising U-Net and its text encoder, trained together on the codec's latents.

v-prediction on Stable Diffusion's noise levels: its weighting asks for layout and colour (high noise) as much as for
outlines (low noise), which a small network with little time learns faster than eps-prediction.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scumble.core.schedule import Schedule
from scumble.scenes.world import VERSION

from .bank import Bank, Batch, encoder
from .data import SIDE
from .denoiser_recipe import DenoiserRecipe
from .drawn import AT_ONCE, Drawings
from .lessons import LabelHead, Watched, pointing_loss
from .reading import Questions
from .run import Run
from .tokenizer import LENGTH, new_tokenizer

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
        # given as it is, because making it from nothing copies a number to the GPU, which no CUDA graph may do
        future = torch.full((1, 1, LENGTH, LENGTH), torch.finfo(torch.float32).min).triu(1)
        self.register_buffer("future", future, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        tokens = self.text_encoder(ids, attention_mask=self.future).last_hidden_state
        return self.unet(x_t, t, encoder_hidden_states=tokens).sample


class Lessons(nn.Module):
    """Heads that are trained along, and hooks into a TextToNoise for what they look at; none is kept afterwards."""

    def __init__(self, model: TextToNoise, recipe: DenoiserRecipe):
        super().__init__()
        self.labels = LabelHead(recipe.channels[1])
        self.questions = Questions(recipe.text_width)
        self.maps: list[Tensor] = []
        self.seen: dict[str, Tensor] = {}
        # the finest feature that still has the width of the coarse ones
        model.unet.up_blocks[1].register_forward_hook(self._keep_feature)
        model.text_encoder.register_forward_hook(self._keep_hidden)
        plain = Watched()
        model.unet.set_attn_processor(
            {
                name: Watched(self.maps) if name.startswith("up_blocks") else plain
                for name in model.unet.attn_processors
            }
        )
        model.text_encoder.set_attn_implementation("eager")  # the fused kernel's backward is slow on CPUs

    def _keep_feature(self, module: nn.Module, given: Any, feature: Tensor) -> None:
        self.seen["feature"] = feature

    def _keep_hidden(self, module: nn.Module, given: Any, found: Any) -> None:
        self.seen["hidden"] = found.last_hidden_state

    def losses(self, batch: Batch, signal: Tensor) -> dict[str, Tensor]:
        """What was seen in the model's last call, judged; unweighted.

        signal: (b,), abar, how much of a picture its noise leaves.
        """
        found = {
            "labels": self.labels.loss(self.seen["feature"], batch.owners, batch.things, batch.grounds),
            "pointing": pointing_loss(self.maps, batch, signal),
            "reading": self.questions.loss(self.seen["hidden"], batch.nouns, batch.ends)[0],
        }
        self.forget()
        return found

    def forget(self) -> None:
        """Let go of what was seen."""
        self.maps.clear()
        self.seen.clear()


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
        stream = iter(Drawings(8, "validation", captions=1, full=recipe.full))
        bank = Bank(stream, encode, recipe.latent_channels, count, captions=1)
        bank.grow(count)
        batch = bank.first(count)
        eps = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(8))
        return cls(batch.latents, batch.ids, eps, torch.arange(count) * 1000 // count)

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
            # other shapes than the training's: compiling them takes longer than running them
            with run.autocast(), torch.compiler.set_stance("force_eager"):
                found.append(errors(model, x0, eps, t, ids, abar))
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


def errors(
    model: Any, x0: Tensor, eps: Tensor, t: Tensor, ids: Tensor, abar: Tensor, weights: Tensor | float = 1.0
) -> Tensor:
    """Mean squared error of the predicted v, one a picture. weights: of the channels, (c, 1, 1)."""
    alpha, sigma = abar[t, None, None, None].sqrt(), (1 - abar[t, None, None, None]).sqrt()
    v = model(alpha * x0 + sigma * eps, t, ids).float()
    return (weights * (v - (alpha * eps - sigma * x0)).square()).mean((1, 2, 3))


def times(draws: Tensor, count: int, low: float) -> Tensor:
    """Times (b,) below `count`, of which a share `low` lies in the lower half, from uniform draws (b,).

    One from each of b equal strata: the same law, less variance between steps.
    """
    b = len(draws)
    u = (torch.arange(b, device=draws.device) + draws) / b
    share = torch.where(u < low, u / max(low, 1e-9), 1 + (u - low) / max(1 - low, 1e-9)) / 2
    return (share * count).long().clamp(max=count - 1)


def train_denoiser(
    codec: Any,
    recipe: DenoiserRecipe,
    folder: Path,
    start: TextToNoise | None = None,
    *,
    workers: int = 0,
    compiled: bool = False,
) -> Any:
    """Train, log to `folder/denoiser.jsonl`, checkpoint, resume; returns the EMA weights in evaluation mode.

    codec: frozen; its latents times its `scaling_factor` have unit variance. start: networks to begin from (a warm
    start with a fresh optimiser) instead of random ones. workers: processes that draw pictures; 0: this one.
    compiled: whether torch.compile makes the U-Net faster first, which takes a minute or more.
    """
    torch.manual_seed(recipe.seed)
    model = start or TextToNoise(recipe)
    lessons = None if recipe.held else Lessons(model, recipe)
    model.text_encoder.requires_grad_(not recipe.held)
    if torch.cuda.is_available() or compiled:
        model.unet.to(memory_format=torch.channels_last)
    if compiled:
        model.unet.compile()
    run = Run(
        "denoiser", folder, model, rate=recipe.rate, minutes=recipe.minutes, ema=recipe.ema, decay=recipe.decay,
        recipe=asdict(recipe) | {"world": VERSION, "codec": digest(codec)}, extra=lessons, optimiser=recipe.optimiser,
        warm_up=recipe.warm_up, cool_down=recipe.cool_down,
    )  # fmt: skip
    torch.manual_seed(recipe.seed + run.step)
    encode = encoder(codec, run.autocast, run.device)
    validation = Validation.of(encode, recipe, min(256, recipe.bank))
    at_once = 8 * AT_ONCE if run.device.type == "cuda" else AT_ONCE
    drawings = Drawings(recipe.seed + 1000 + run.step, full=recipe.full, at_once=at_once)
    bank = Bank(drawings.by(workers), encode, recipe.latent_channels, recipe.bank, device=run.device)
    bank.grow(min(recipe.first, recipe.bank))
    abar = alphas_cumprod().to(run.device)
    weights = torch.tensor(recipe.channel_weights or (1.0,), device=run.device)[:, None, None]
    forget = lessons.forget if lessons else lambda: None
    forget()

    def lesson() -> dict[str, Tensor]:
        batch = bank.draw(recipe.batch, unprompted=recipe.unprompted)
        eps = torch.randn_like(batch.latents)
        t = times(torch.rand(recipe.batch, device=run.device), len(abar), recipe.low)
        with run.autocast():
            mse = errors(run.model, batch.latents, eps, t, batch.ids, abar, weights).mean()
            also = lessons.losses(batch, abar[t]) if lessons else {}
        weighted = [getattr(recipe, name) * value for name, value in also.items()]
        return {"loss": sum(weighted, mse), "mse": mse, **also}

    with run:
        while run.going():
            if run.step % 8 == 0:
                bank.grow(min(max(round(8 * recipe.batch * recipe.fresh), 1), recipe.bank))
            run.repeat(lesson, pictures=recipe.batch)
            if run.due:
                run.note(validation=validation.losses(run, abar))
                forget()
                run.save()
    return run.finish()
