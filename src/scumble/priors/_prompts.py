"""From prompts to rows of token ids: cut, padded, with embeddings of several vectors written out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

Offsets = tuple[tuple[int, int], ...]
Vectors = Mapping[int, Sequence[int]]  # the id of an embedding's word -> the ids of all its vectors

# What other programs read as commands, and what does it here.
SYNTAX = {
    r"\([^()]+:\s*\d*\.?\d+\s*\)": "--method p2p --set edit=reweight --set reweight=WORD=1.3 weighs words",
    r"<\s*(?:lora|lyco|lycoris|hypernet)\s*:[^<>]+>": "LoRAs are added by --lora FILE:WEIGHT",
    r"\bembedding:\S+": "embeddings are added by --embedding FILE, and used by their word alone",
    r"\bBREAK\b": "there are no chunks; leave it out",
}


def rows(
    tokenizer: Any, prompts: Sequence[str], limit: int, vectors: Vectors
) -> tuple[list[list[int]], list[Offsets], list[int]]:
    """Token ids (limit each), their characters' places and the number of tokens before padding, prompt by prompt.

    Warns of what is cut off, and of words that other programs take as commands.
    """
    read = tokenizer(list(prompts), return_offsets_mapping=True, verbose=False)
    ids, offsets, lengths = list[list[int]](), list[Offsets](), list[int]()
    for prompt, row, spans in zip(prompts, read["input_ids"], read["offset_mapping"], strict=True):
        _warn_of_syntax(prompt)
        pairs = [(each, span) for id, span in zip(row, spans, strict=True) for each in vectors.get(id, (id,))]
        if len(pairs) > limit:
            _warn_of_cut(prompt, pairs[limit - 1][1][0], limit)
            pairs = [*pairs[: limit - 1], (row[-1], (0, 0))]
        lengths.append(len(pairs))
        pairs += [(tokenizer.pad_token_id, (0, 0))] * (limit - len(pairs))
        ids.append([id for id, _ in pairs])
        offsets.append(tuple((first, last) for _, (first, last) in pairs))
    return ids, offsets, lengths


def _warn_of_syntax(prompt: str) -> None:
    for pattern, instead in SYNTAX.items():
        if found := re.search(pattern, prompt):
            warnings.warn(
                f"prompt: {found[0]!r} is read literally, letter by letter: {instead}",
                UserWarning,
                stacklevel=4,
            )


def _warn_of_cut(prompt: str, start: int, limit: int) -> None:
    start = prompt.rfind(" ", 0, start + 1) + 1  # the whole word, if the limit falls inside it
    warnings.warn(
        f"prompt: it is longer than this model's {limit} tokens; cut off: {prompt[start:].strip()!r}",
        UserWarning,
        stacklevel=4,
    )
