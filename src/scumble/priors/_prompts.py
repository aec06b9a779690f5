"""From prompts to rows of token ids: cut, padded, with embeddings of several vectors written out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.text import Text

Offsets = tuple[tuple[int, int], ...]
Vectors = Mapping[int, Sequence[int]]  # the id of an embedding's word -> the ids of all its vectors

# What other programs read as commands, and what does it here.
SYNTAX = {
    r"\([^()]+:\s*\d*\.?\d+\s*\)": "--method p2p --set edit=reweight --set reweight=WORD=1.3 weighs words",
    r"<\s*(?:lora|lyco|lycoris|hypernet)\s*:[^<>]+>": "LoRAs are added by --lora FILE:WEIGHT",
    r"\bembedding:\S+": "embeddings are added by --embedding FILE, and used by their word alone",
    r"\bBREAK\b": "there are no chunks; leave it out",
}


def asked(prompts: Sequence[str], extra: Mapping[str, object]) -> tuple[str, ...]:
    """The prompts in a tuple. Raises InputError for conditions beside them."""
    if extra:
        raise InputError(
            f"embed: this model knows no condition {', '.join(map(repr, extra))}; it reads prompts only"
        )
    return (prompts,) if isinstance(prompts, str) else tuple(prompts)


class Reader(Protocol):
    """What reading needs of a prior."""

    device: torch.device
    tokenizers: Mapping[str, Any]

    def encode_ids(self, part: str, ids: Tensor, **settings: Any) -> Any: ...


def read_clip(
    prior: Reader,
    part: str,
    prompts: tuple[str, ...],
    *,
    layer: int,
    warn: bool = True,
    goes_on: bool = False,
) -> Text:
    """A CLIP's states after `layer` (no final norm) and its pooled row; `goes_on`: another encoder reads further."""
    tokenizer = prior.tokenizers[part.replace("text_encoder", "tokenizer")]
    reader = "its CLIP's" if goes_on else "this model's"
    ids, offsets, _ = rows(tokenizer, prompts, tokenizer.model_max_length, {}, reader if warn else "")
    tokens = torch.tensor(ids, device=prior.device)
    out = prior.encode_ids(part, tokens, output_hidden_states=True)
    pooled = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
    states = out.hidden_states[layer]
    return Text(states.float(), prompts, pooled=pooled.float(), ids=tokens, offsets=tuple(offsets))


def read_t5(prior: Reader, part: str, prompts: tuple[str, ...], limit: int) -> Text:
    """T5's last states of `limit` rows, its padding read as well: these families mask nothing."""
    tokenizer = prior.tokenizers[part.replace("text_encoder", "tokenizer")]
    ids, offsets, _ = rows(tokenizer, prompts, limit, {})
    tokens = torch.tensor(ids, device=prior.device)
    return Text(prior.encode_ids(part, tokens)[0].float(), prompts, ids=tokens, offsets=tuple(offsets))


def rows(
    tokenizer: Any, prompts: Sequence[str], limit: int, vectors: Vectors, reader: str = "this model's"
) -> tuple[list[list[int]], list[Offsets], list[int]]:
    """Token ids (limit each), their characters' places and the number of tokens before padding, prompt by prompt.

    Warns of what is cut off, `reader` being who stops there, and of words that other programs take as commands; not
    without a reader.
    """
    read = tokenizer(list(prompts), return_offsets_mapping=True, verbose=False)
    ids, offsets, lengths = list[list[int]](), list[Offsets](), list[int]()
    for prompt, row, spans in zip(prompts, read["input_ids"], read["offset_mapping"], strict=True):
        if reader:
            _warn_of_syntax(prompt)
        pairs = [(each, span) for id, span in zip(row, spans, strict=True) for each in vectors.get(id, (id,))]
        if len(pairs) > limit:
            if reader:
                _warn_of_cut(prompt, pairs[limit - 1][1][0], limit, reader)
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


def _warn_of_cut(prompt: str, start: int, limit: int, reader: str) -> None:
    start = prompt.rfind(" ", 0, start + 1) + 1  # the whole word, if the limit falls inside it
    warnings.warn(
        f"prompt: it is longer than {reader} {limit} tokens; cut off: {prompt[start:].strip()!r}",
        UserWarning,
        stacklevel=4,
    )
