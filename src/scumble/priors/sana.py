"""Sana (Xie et al. 2024, arXiv:2410.10629) as a Prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scumble.core.prior import Text
from scumble.core.text import Negative
from scumble.priors._latent import LatentPrior
from scumble.priors._prompts import asked, before_padding, lowered, rows
from scumble.priors._sharing import alone

ROWS = 300  # of Gemma
INSTRUCTION = "\n".join(  # what the network was trained with (section 3.1)
    [
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for "
        "image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping "
        "peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing "
        "street lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering "
        "glass skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    ]
)


class SanaPrior(LatentPrior):
    """A rectified flow with linear attention on a codec of stride 32, told a prompt by Gemma, lower-cased; padding is
    masked.

    A prompt stands behind a long instruction; the empty prompt and negative ones (`core.text.Negative`) stand alone.
    """

    family, patch, ends = "sana", 1, "table"
    dtypes = ("bfloat16", "float32")

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; `size` says nothing here, the latent tells it. Raises InputError for any further
        condition.
        """
        prompts = asked(prompts, extra)
        alone = [not prompt or isinstance(prompt, Negative) for prompt in prompts]
        order = sorted(range(len(prompts)), key=alone.__getitem__)  # behind the instruction first
        said = [[prompts[i].strip() for i in order if alone[i] == each] for each in (False, True)]
        texts = [
            self._read(each, before) for each, before in zip(said, (INSTRUCTION, ""), strict=True) if each
        ]
        return Text.cat(texts).take([order.index(i) for i in range(len(prompts))])

    def _read(self, prompts: Sequence[str], before: str) -> Text:
        tokenizer = self.tokenizers["tokenizer"]
        skipped = len(tokenizer.encode(before)) - 2 if before else 0
        limit = ROWS + skipped
        ids, offsets, lengths = rows(
            tokenizer,
            [before + lowered(prompt) for prompt in prompts],
            limit,
            {},
            before=len(before),
            among=prompts,
        )
        tokens, mask = torch.tensor(ids, device=self.device), before_padding(lengths, limit, self.device)
        states = self.encode_ids("text_encoder", tokens, attention_mask=mask.long())[0].float()
        seen = [0, *range(limit - ROWS + 1, limit)]  # the token of the beginning, and the last ones
        return Text(
            states[:, seen],
            tuple(prompts),
            ids=tokens[:, seen],
            offsets=tuple(tuple(spans[i] for i in seen) for spans in offsets),
            mask=mask[:, seen],
        )

    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        assert text.mask is not None
        out = self._network(
            x,
            encoder_hidden_states=text.tokens.to(x.device, dtype),
            encoder_attention_mask=text.mask.to(x.device),
            timestep=told * self._network.config.timestep_scale,
            return_dict=False,
        )[0]
        return out[:, : x.shape[1]]  # some predict a variance as well
