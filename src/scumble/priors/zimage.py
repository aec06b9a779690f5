"""Z-Image and its Turbo (Tongyi 2025, arXiv:2511.22699) as a Prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, read_chat, spoken
from scumble.priors._sharing import alone

ROWS = 512  # of the language model, its template included
FILLED = 32  # picture and text are filled up to multiples of so many tokens


class ZImagePrior(LatentPrior):
    """A rectified flow in one stream of text and patches, told a prompt by the second last states of Qwen3.

    The network is told 1 - t/T and gives minus the flow. Its authors' guidance g is w = g + 1 here.
    """

    family, patch, ends = "zimage", 2, "steps"
    dtypes = ("bfloat16", "float32")

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt, in the template of a chat, as long as the longest; `size` says nothing to this network.
        Raises InputError for any further condition.
        """
        chat = spoken(self.tokenizers["tokenizer"], enable_thinking=True)
        return read_chat(self, "text_encoder", asked(prompts, extra), ROWS, chat=chat, layers=[-2])

    def _place(self, text: Text, size: tuple[int, int]) -> slice:
        return slice(_filled(size[0] * size[1] // self.patch**2), None)

    def _seen(self, text: Text, size: tuple[int, int]) -> Tensor:
        assert text.mask is not None
        lengths = _filled(text.mask.sum(1))
        picture = self._place(text, size).start
        seen = torch.arange(picture + int(lengths.max()), device=lengths.device)
        return seen < picture + lengths[:, None]

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.mask is not None
        rows = zip(text.tokens.to(x.device, dtype), text.mask.to(x.device), strict=True)
        out = self._network(
            list(x[:, :, None].unbind()),  # pictures are videos of one frame
            1 - told / self.schedule.T,
            [tokens[mask] for tokens, mask in rows],
            return_dict=False,
        )[0]
        return -torch.stack([each[:, 0] for each in out])


N = TypeVar("N", int, Tensor)


def _filled(tokens: N) -> N:
    return (tokens + FILLED - 1) // FILLED * FILLED
