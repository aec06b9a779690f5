"""Stable Diffusion 1.x / 2.x shaped checkpoints as a Prior: by components, never by a pipeline's call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, rows
from scumble.priors._sharing import alone


class StableDiffusionPrior(LatentPrior):
    """A text-conditional latent diffusion model: U-Net, KL autoencoder, CLIP text encoder and tokenizer."""

    family = "latent"

    def __init__(self, **made: Any):
        super().__init__(**made)
        self._unet, self._tokenizer = self._network, self.tokenizers["tokenizer"]

    @property
    def _text_encoder(self) -> Any:
        return self._texts["text_encoder"]

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; beyond the tokenizer's limit it is cut, and a warning quotes the words cut off.

        `size` says nothing to this network. Raises InputError for any further condition.
        """
        prompts = asked(prompts, extra)
        limit = min(self._tokenizer.model_max_length, self._text_encoder.config.max_position_embeddings)
        ids, offsets, lengths = rows(self._tokenizer, prompts, limit, self._vectors)
        tokens = torch.tensor(ids, device=self.device)
        mask = None
        if getattr(self._text_encoder.config, "use_attention_mask", False):
            ends = torch.tensor(lengths, device=self.device)
            mask = (torch.arange(limit, device=self.device) < ends[:, None]).long()
        states = self.encode_ids("text_encoder", tokens, attention_mask=mask)[0]
        return Text(tokens=states.float(), prompts=prompts, ids=tokens, offsets=tuple(offsets))

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        return self._unet(x, told, text.tokens.to(x.device, dtype), return_dict=False)[0]
