"""FLUX.2 as a Prior (Black Forest Labs 2025): dev, whose guidance is embedded, and klein, base and distilled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, read_chat, spoken
from scumble.priors._sharing import alone
from scumble.priors.flux import pack, places, unpack

ROWS = 512  # of the language model, its template included
SYSTEM = (  # what dev was trained with
    "You are an AI that reasons about image descriptions. You give structured responses focusing on object "
    "relationships, object\nattribution and actions without speculation."
)


class Flux2Prior(LatentPrior):
    """A rectified flow on patches of the latent, told a prompt by three layers of a language model: of dev Mistral's.

    Padding is read as well. `extra["guidance"]` (b,): w of dev.
    """

    family, patch, ends = "flux2", 2, "fitted"
    dtypes = ("bfloat16", "float32")

    @property
    def _embedded(self) -> bool:
        return bool(self._network.config.guidance_embeds)

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; `size` says nothing to this network. Raises InputError for any further condition."""
        config = self._texts["text_encoder"].config
        depth = getattr(config, "text_config", config).num_hidden_layers
        text = read_chat(
            self,
            "text_encoder",
            asked(prompts, extra),
            ROWS,
            chat=self._chat(),
            layers=[depth // 4, depth // 2, 3 * depth // 4],  # dev 10, 20, 30 of 40; klein 9, 18, 27 of 36
            padded=True,
            use_cache=False,
            logits_to_keep=1,
        )
        w = torch.ones(len(text), dtype=torch.float32, device=text.tokens.device)
        return replace(text, extra={"guidance": w} if self._embedded else {})

    def _chat(self) -> Callable[[str], str]:
        tokenizer = self.tokenizers["tokenizer"]

        def chat(prompt: str) -> str:
            said = [
                {"role": role, "content": [{"type": "text", "text": text}]}
                for role, text in (("system", SYSTEM), ("user", prompt.replace("[IMG]", "")))
            ]
            return tokenizer.apply_chat_template(said, tokenize=False)

        return chat

    def _place(self, text: Text, size: tuple[int, int]) -> slice:
        return slice(0, text.tokens.shape[1])

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        pad = torch.nn.functional.pad
        out = self._network(
            hidden_states=pack(x),
            timestep=told.to(dtype) / self.schedule.T,
            guidance=text.extra["guidance"].to(x.device) if self._embedded else None,
            encoder_hidden_states=text.tokens.to(x.device, dtype),
            # Each token's picture, row, column and place in the text.
            txt_ids=pad(torch.arange(text.tokens.shape[1], device=x.device)[:, None], (3, 0)),
            img_ids=pad(places(height, width), (0, 1)).to(x.device),
            return_dict=False,
        )[0]
        return unpack(out, height, width)


class KleinPrior(Flux2Prior):
    """FLUX.2 klein, told a prompt by Qwen3."""

    family = "klein"

    def _chat(self) -> Callable[[str], str]:
        return spoken(self.tokenizers["tokenizer"], enable_thinking=False)
