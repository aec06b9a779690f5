"""A tokenizer of single letters and punctuation marks, without a network: what words are made of is plain to see."""

import torch

from scumble.core.text import Text

LIMIT = 24


def text(*prompts: str, limit: int = LIMIT) -> Text:
    """Every character but blanks is a token, between a start token (0) and end tokens (1) as padding."""
    ids, offsets = [], []
    for prompt in prompts:
        places = [(i, i + 1) for i, c in enumerate(prompt) if c != " "][: limit - 2]
        padding = limit - 1 - len(places)
        ids.append([0, *(ord(prompt[a].lower()) for a, _ in places), *[1] * padding])
        offsets.append(((0, 0), *places, *[(0, 0)] * padding))
    return Text(
        tokens=torch.zeros(len(prompts), limit, 1),
        prompts=prompts,
        ids=torch.tensor(ids),
        offsets=tuple(offsets),
    )
