"""Qwen-Image (Alibaba 2025, arXiv:2508.02324) as a Prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, read_chat
from scumble.priors._sharing import alone
from scumble.priors.flux import pack, unpack

BEFORE = (  # what the network was trained with
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
AFTER = "<|im_end|>\n<|im_start|>assistant\n"
FIRST = 34  # tokens of `BEFORE`, which the network is not shown
ROWS = 512  # that it is shown, those of `AFTER` included


class QwenImagePrior(LatentPrior):
    """A rectified flow in two streams of text and patches, told a prompt by the last states of Qwen2.5-VL.

    The empty prompt is a blank, as its authors have it. Guidance keeps norms: see `Card.norm`.
    """

    family, patch, ends = "qwen", 2, "steps"
    dtypes = ("bfloat16", "float32")

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt, as long as the longest; `size` says nothing to this network. Raises InputError for any
        further condition.
        """
        text = read_chat(
            self,
            "text_encoder",
            asked(prompts, extra),
            FIRST + ROWS,
            chat=lambda prompt: f"{BEFORE}{prompt or ' '}{AFTER}",
            layers=[-1],
            logits_to_keep=1,
        )
        assert text.ids is not None
        assert text.mask is not None
        return replace(
            text,
            tokens=text.tokens[:, FIRST:],
            ids=text.ids[:, FIRST:],
            mask=text.mask[:, FIRST:],
            offsets=tuple(spans[FIRST:] for spans in text.offsets),
        )

    def _place(self, text: Text, size: tuple[int, int]) -> slice:
        return slice(0, text.tokens.shape[1])

    def _seen(self, text: Text, size: tuple[int, int]) -> Tensor:
        assert text.mask is not None
        return torch.nn.functional.pad(text.mask, (0, size[0] * size[1] // self.patch**2), value=True)

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.mask is not None
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        out = self._network(
            hidden_states=pack(x),
            timestep=told.to(dtype) / self.schedule.T,
            encoder_hidden_states=text.tokens.to(x.device, dtype),
            encoder_hidden_states_mask=None if bool(text.mask.all()) else text.mask.to(x.device),
            img_shapes=[[(1, height, width)]] * len(x),
            return_dict=False,
        )[0]
        return unpack(out, height, width)
