"""PixArt-alpha (Chen et al. 2023, arXiv:2310.00426) and -Sigma (2024, arXiv:2403.04692) as a Prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, lowered, read_t5
from scumble.priors._sharing import alone

ALPHA_ROWS, SIGMA_ROWS = 120, 300  # of T5


class PixArtPrior(LatentPrior):
    """A transformer on patches of Stable Diffusion's latent, told a prompt by T5, lower-cased; padding is masked.

    It predicts eps and a variance, which is dropped. Alpha at 1024 px is told the canvas and its aspect ratio.
    """

    family, patch = "pixart", 2

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; `size` says nothing here, the latent tells it. Raises InputError for any further
        condition.
        """
        limit = SIGMA_ROWS if "Sigma" in str(self._index.get("_class_name")) else ALPHA_ROWS
        return read_t5(self, "text_encoder", asked(prompts, extra), limit, masked=True, prepare=lowered)

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.mask is not None
        canvas: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self._network.config.use_additional_conditions and self._network.config.sample_size == 128:
            height, width = (side * self._stride for side in x.shape[-2:])
            canvas["resolution"] = torch.tensor([[height, width]] * len(x), dtype=dtype, device=x.device)
            canvas["aspect_ratio"] = torch.tensor([[height / width]] * len(x), dtype=dtype, device=x.device)
        out = self._network(
            x,
            encoder_hidden_states=text.tokens.to(x.device, dtype),
            encoder_attention_mask=text.mask.to(x.device),
            timestep=told,
            added_cond_kwargs=canvas,
            return_dict=False,
        )[0]
        return out[:, : x.shape[1]]
