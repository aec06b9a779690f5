"""From prompts to rows of token ids: cut, padded, with embeddings of several vectors written out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.text import Text

Offsets = tuple[tuple[int, int], ...]
Vectors = Mapping[int, Sequence[int]]  # the id of an embedding's word -> the ids of all its vectors

QUOTED = 300  # letters of a prompt that a warning quotes at most

# What other programs read as commands, and what does it here.
SYNTAX = {
    r"\([^()]+:\s*\d*\.?\d+\s*\)|\(\([^()]+\)\)|\[\[[^\[\]]+\]\]": (
        "--method p2p --set edit=reweight --set reweight=WORD=1.3 weighs words"
    ),
    r"\[[^\[\]]*(?::\s*\d*\.?\d+\s*|\|[^\[\]]*)\]": "a prompt is the same at all steps; leave it out",
    r"\{[^{}]*\|[^{}]*\}": "several --target make several pictures",
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
    vectors: Vectors | None = None,
) -> Text:
    """A CLIP's states after `layer` (no final norm) and its pooled row; `goes_on`: another encoder reads further;
    `vectors`: of added words.
    """
    tokenizer = prior.tokenizers[part.replace("text_encoder", "tokenizer")]
    reader = "its CLIP's" if goes_on else "this model's"
    ids, offsets, _ = rows(
        tokenizer, prompts, tokenizer.model_max_length, vectors or {}, reader if warn else ""
    )
    tokens = torch.tensor(ids, device=prior.device)
    out = prior.encode_ids(part, tokens, output_hidden_states=True)
    pooled = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
    states = out.hidden_states[layer]
    return Text(states.float(), prompts, pooled=pooled.float(), ids=tokens, offsets=tuple(offsets))


def lowered(prompt: str) -> str:
    """In lower case, letter by letter, so that tokens keep their places in the prompt."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in prompt)


def read_t5(
    prior: Reader,
    part: str,
    prompts: tuple[str, ...],
    limit: int,
    *,
    masked: bool = False,
    prepare: Callable[[str], str] = str,
) -> Text:
    """T5's last states of `limit` rows. Its padding is read as well, unless `masked`; `prepare` changes no lengths."""
    tokenizer = prior.tokenizers[part.replace("text_encoder", "tokenizer")]
    ids, offsets, lengths = rows(tokenizer, [prepare(prompt) for prompt in prompts], limit, {})
    tokens = torch.tensor(ids, device=prior.device)
    if not masked:
        return Text(prior.encode_ids(part, tokens)[0].float(), prompts, ids=tokens, offsets=tuple(offsets))
    mask = before_padding(lengths, limit, prior.device)
    states = prior.encode_ids(part, tokens, attention_mask=mask.long())[0]
    return Text(states.float(), prompts, ids=tokens, offsets=tuple(offsets), mask=mask)


def spoken(tokenizer: Any, **template: Any) -> Callable[[str], str]:
    """A prompt as what a user says, in the tokenizer's chat template, which the answer would follow."""

    def chat(prompt: str) -> str:
        said = [{"role": "user", "content": prompt}]
        return tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True, **template)

    return chat


def read_chat(
    prior: Reader,
    part: str,
    prompts: tuple[str, ...],
    limit: int,
    *,
    chat: Callable[[str], str],
    layers: Sequence[int],
    padded: bool = False,
    **settings: Any,
) -> Text:
    """A language model's states after `layers`, side by side, of each prompt as `chat` puts it.

    At most `limit` rows, those of the chat included: as many as the longest prompt has, with a mask; or all of them,
    without one (`padded`), on the side that the tokenizer pads. `settings`: what the model is told besides.
    """
    tokenizer = prior.tokenizers[part.replace("text_encoder", "tokenizer")]
    before = len(chat(PLACE).partition(PLACE)[0])
    ids, offsets, lengths = rows(
        tokenizer, [chat(prompt) for prompt in prompts], limit, {}, before=before, among=prompts
    )
    longest = limit if padded else max(lengths)
    tokens, mask = (
        torch.tensor(ids, device=prior.device)[:, :longest],
        before_padding(lengths, longest, prior.device),
    )
    shown = [spans[:longest] for spans in offsets]
    if padded and tokenizer.padding_side == "left":
        tokens, mask = (
            torch.stack([row.roll(-n) for row, n in zip(x, lengths, strict=True)]) for x in (tokens, mask)
        )
        shown = [spans[n:] + spans[:n] for spans, n in zip(shown, lengths, strict=True)]
    states = prior.encode_ids(
        part, tokens, attention_mask=mask.long(), output_hidden_states=True, **settings
    ).hidden_states
    read = torch.cat([states[layer] for layer in layers], -1).float()
    return Text(read, prompts, ids=tokens, offsets=tuple(shown), mask=None if padded else mask)


PLACE = "\0"  # stands for a prompt in a template


def before_padding(lengths: Sequence[int], limit: int, device: torch.device) -> Tensor:
    """(b, limit): True before the padding."""
    return torch.arange(limit, device=device) < torch.tensor(lengths, device=device)[:, None]


def rows(
    tokenizer: Any,
    prompts: Sequence[str],
    limit: int,
    vectors: Vectors,
    reader: str = "this model's",
    *,
    before: int = 0,
    among: Sequence[str] | None = None,
) -> tuple[list[list[int]], list[Offsets], list[int]]:
    """Token ids (limit each), their characters' places and the number of tokens before padding, prompt by prompt.

    Warns of what is cut off, `reader` being who stops there, and of words that other programs take as commands; not
    without a reader. `among`: the prompts themselves, where `prompts` are templates with `before` letters in front.
    """
    # A chat that begins with the token of the beginning gets no other.
    bos = getattr(tokenizer, "bos_token", None)
    special = not (among and bos and all(prompt.startswith(bos) for prompt in prompts))
    read = tokenizer(list(prompts), return_offsets_mapping=True, verbose=False, add_special_tokens=special)
    ids, offsets, lengths = list[list[int]](), list[Offsets](), list[int]()
    for prompt, row, spans in zip(among or prompts, read["input_ids"], read["offset_mapping"], strict=True):
        if reader:
            _warn_of_syntax(prompt)
        pairs = [(each, span) for id, span in zip(row, spans, strict=True) for each in vectors.get(id, (id,))]
        if among:
            pairs = [(id, _within(span, before, len(prompt))) for id, span in pairs]
        if len(pairs) > limit:
            lost = [first for _, (first, last) in pairs[limit - 1 :] if last > first]
            if reader and lost:
                _warn_of_cut(prompt, lost[0], limit, reader)
            end = [] if among else [(row[-1], (0, 0))]
            pairs = [*pairs[: limit - len(end)], *end]
        lengths.append(len(pairs))
        pairs += [(tokenizer.pad_token_id, (0, 0))] * (limit - len(pairs))
        ids.append([id for id, _ in pairs])
        offsets.append(tuple((first, last) for _, (first, last) in pairs))
    return ids, offsets, lengths


def _within(span: tuple[int, int], before: int, length: int) -> tuple[int, int]:
    """A token's place in the prompt, which begins after `before` letters; (0, 0) outside."""
    first, last = max(span[0] - before, 0), min(span[1] - before, length)
    return (first, last) if first < last else (0, 0)


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
    lost = prompt[start:].strip()
    more = f" and {len(lost) - QUOTED} letters more" if len(lost) > QUOTED else ""
    warnings.warn(
        f"prompt: it is longer than {reader} {limit} tokens; cut off: {lost[:QUOTED]!r}{more}",
        UserWarning,
        stacklevel=4,
    )
