"""FLUX.1 as a Prior (Black Forest Labs 2024): dev, whose guidance is embedded, and schnell, which has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.core.types import Latent
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, read_clip, read_t5
from scumble.priors._sharing import alone

DEV_ROWS, SCHNELL_ROWS = 512, 256  # of T5


class FluxPrior(LatentPrior):
    """A rectified flow on patches of the latent, told a prompt by T5 and, pooled, by CLIP.

    `Text`: tokens are T5's 512 rows (schnell: 256); `pooled` is CLIP's. `extra["guidance"]` (b,): w of dev.
    """

    family, patch, ends = "flux", 2, "steps"
    dtypes = ("bfloat16", "float32")

    @property
    def _embedded(self) -> bool:
        return bool(self._network.config.guidance_embeds)

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; `size` says nothing to this network. Raises InputError for any further condition."""
        prompts = asked(prompts, extra)
        text = read_t5(self, "text_encoder_2", prompts, DEV_ROWS if self._embedded else SCHNELL_ROWS)
        pooled = read_clip(self, "text_encoder", prompts, layer=-1, goes_on=True).pooled
        w = {"guidance": torch.ones(len(prompts), dtype=torch.float32, device=text.tokens.device)}
        return replace(text, pooled=pooled, extra=w if self._embedded else {})

    def _place(self, text: Text, size: tuple[int, int]) -> slice:
        return slice(0, text.tokens.shape[1])

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.pooled is not None
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        out = self._network(
            hidden_states=pack(x),
            timestep=told.to(dtype) / self.schedule.T,
            guidance=text.extra["guidance"].to(x.device) if self._embedded else None,
            encoder_hidden_states=text.tokens.to(x.device, dtype),
            pooled_projections=text.pooled.to(x.device, dtype),
            txt_ids=torch.zeros(text.tokens.shape[1], 3, dtype=dtype, device=x.device),
            img_ids=places(height, width).to(x.device, dtype),
            return_dict=False,
        )[0]
        return unpack(out, height, width)


def pack(z: Latent) -> Tensor:
    """(b, c, h, w) -> (b, h w / 4, 4 c): a token for each patch of 2 x 2 cells, channels first."""
    b, c, h, w = z.shape
    return z.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def unpack(tokens: Tensor, height: int, width: int) -> Latent:
    """The way back, from height x width patches."""
    b, _, c = tokens.shape
    cells = tokens.reshape(b, height, width, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(b, c // 4, 2 * height, 2 * width)


def places(height: int, width: int) -> Tensor:
    """(height width, 3): 0, the row and the column of every patch."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3)
