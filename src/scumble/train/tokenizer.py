"""A CLIP tokenizer with its own vocabulary: every word of the scenes world is one token; other words are spelled."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from scumble.scenes.grammar import WORDS

LENGTH = 32
"""Tokens a prompt is padded or cut to, start and end included; a full caption of two objects needs 26."""

Merge = tuple[str, str]


def new_tokenizer() -> Any:
    """A CLIPTokenizer, identical at every call, because trained weights depend on its ids."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    merges = word_merges()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*letters, *(a + "</w>" for a in letters), *("".join(m) for m in merges)])
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    ranked: Any = merges
    return CLIPTokenizer(vocab=vocabulary, merges=ranked, model_max_length=LENGTH)


def word_merges() -> list[Merge]:
    """Byte-pair merges, first come first served, under which every word of the world becomes one piece.

    A library's trainer would do, but breaks its ties in the order of a hash map, another at every call. Appended merges
    never undo an earlier word: all merges that make it one piece rank higher.
    """
    merges: list[Merge] = []
    for word in sorted(WORDS):
        while len(pieces := _encode(word, merges)) > 1:
            merges.append((pieces[0], pieces[1]))
    return merges


def _encode(word: str, merges: list[Merge]) -> list[str]:
    """Byte-pair encoding of one word: the pair that ranks highest is merged, everywhere, until none is left."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    rank = {merge: i for i, merge in enumerate(merges)}
    while found := [pair for pair in pairwise(pieces) if pair in rank]:
        first = min(found, key=rank.__getitem__)
        merged: list[str] = []
        for piece in pieces:
            if merged and (merged[-1], piece) == first:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged
    return pieces
