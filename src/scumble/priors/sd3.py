"""Stable Diffusion 3 and 3.5 as a Prior (Esser et al. 2024, arXiv:2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, read_clip, read_t5
from scumble.priors._sharing import alone

T5_ROWS = 256


class SD3Prior(LatentPrior):
    """A rectified flow on patches of the latent, told a prompt by two CLIPs and T5.

    `Text`: 77 rows of both CLIPs, side by side and filled up with zeros, then 256 rows of T5; `pooled` is that of both
    CLIPs. Without T5, which a checkpoint may leave out, its rows are zeros: long prompts and lettering suffer.
    """

    family, patch, ends = "sd3", 2, "table"

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; `size` says nothing to this network. Raises InputError for any further condition."""
        prompts = asked(prompts, extra)
        there = "text_encoder_3" in self._texts
        texts = [
            read_clip(self, part, prompts, layer=-2 - self._skip, warn=part == "text_encoder", goes_on=there)
            for part in ("text_encoder", "text_encoder_2")
        ]
        clip, width = torch.cat([text.tokens for text in texts], -1), self._network.config.joint_attention_dim
        clip = torch.nn.functional.pad(clip, (0, width - clip.shape[-1]))
        pooled = torch.cat([text.pooled for text in texts if text.pooled is not None], -1)
        if there:
            t5 = read_t5(self, "text_encoder_3", prompts, T5_ROWS)
        else:
            blank = clip.new_zeros(len(prompts), T5_ROWS, width)
            none = torch.zeros(len(prompts), T5_ROWS, dtype=torch.int64, device=clip.device)
            t5 = Text(blank, prompts, ids=none, offsets=(((0, 0),) * T5_ROWS,) * len(prompts))
        assert texts[0].ids is not None
        assert t5.ids is not None
        return replace(
            texts[0],
            tokens=torch.cat([clip, t5.tokens], 1),
            pooled=pooled,
            ids=torch.cat([texts[0].ids, t5.ids], 1),
            offsets=tuple(a + b for a, b in zip(texts[0].offsets, t5.offsets, strict=True)),
        )

    def _place(self, text: Text, size: tuple[int, int]) -> slice:
        return slice(size[0] * size[1] // self.patch**2, None)

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.pooled is not None
        most = self._network.config.pos_embed_max_size * self.patch
        if max(x.shape[-2:]) > most:
            raise InputError(
                f"canvas: this model knows places up to {most * self._stride} px; take a smaller --size"
            )
        return self._network(
            hidden_states=x,
            timestep=told,
            encoder_hidden_states=text.tokens.to(x.device, dtype),
            pooled_projections=text.pooled.to(x.device, dtype),
            return_dict=False,
        )[0]
