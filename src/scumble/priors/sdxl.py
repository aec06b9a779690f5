"""Stable Diffusion XL as a Prior (Podell et al. 2023, arXiv:2307.01952): base, fine-tunes and few-step merges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, read_clip
from scumble.priors._sharing import alone


class SDXLPrior(LatentPrior):
    """A U-Net that is told a prompt twice, by two CLIPs, and the size of the canvas.

    `Text`: tokens are the second last states of both, side by side; `pooled` is the second CLIP's. `extra["time_ids"]`
    (b, 6): the size of the picture, the corner it was cropped at and the size wanted, all (H, W).
    """

    family = "sdxl"

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt. The empty prompt is all zeros where the checkpoint was trained so
        (`force_zeros_for_empty_prompt` of model_index.json, on by default), as in diffusers' pipeline.

        `size` (H, W): the canvas; the model's own by default. Raises InputError for any further condition.
        """
        prompts = asked(prompts, extra)
        texts = [
            read_clip(
                self,
                part,
                prompts,
                layer=-2 - self._skip,
                warn=part == "text_encoder",
                vectors=self._vectors,
            )
            for part in ("text_encoder", "text_encoder_2")
        ]
        tokens = torch.cat([text.tokens for text in texts], -1)
        pooled = texts[1].pooled
        assert pooled is not None
        if self._index.get("force_zeros_for_empty_prompt", True):
            said = torch.tensor([bool(prompt) for prompt in prompts], device=tokens.device)
            tokens = torch.where(said[:, None, None], tokens, 0.0)
            pooled = torch.where(said[:, None], pooled, 0.0)
        height, width = size or self._native
        ids = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=tokens.device)
        time_ids = {"time_ids": ids.expand(len(prompts), -1)}
        return replace(texts[0], tokens=tokens, pooled=pooled, extra=time_ids)

    @property
    def _native(self) -> tuple[int, int]:
        side = (self._network.config.sample_size or 128) * self._stride
        return side, side

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.pooled is not None
        canvas = {
            "text_embeds": text.pooled.to(x.device, dtype),
            # Always float32: bfloat16 would make 1023 px into 1024.
            "time_ids": text.extra["time_ids"].to(x.device),
        }
        tokens = text.tokens.to(x.device, dtype)
        return self._network(x, told, tokens, added_cond_kwargs=canvas, return_dict=False)[0]
