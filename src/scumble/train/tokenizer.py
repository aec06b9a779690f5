"""A CLIP tokenizer with a vocabulary of its own: every word of the scenes world is one token, any other is spelled."""

from __future__ import annotations

from typing import Any

from scumble.scenes.grammar import WORDS

LENGTH = 32
"""Tokens a prompt is padded or cut to, start and end included; a full caption of two objects needs 26."""


def new_tokenizer() -> Any:
    """A CLIPTokenizer whose byte-pair merges were learned from the world's words until each was one piece."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(sorted(WORDS), trainer)
    merges: Any = _merges(learner)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*letters, *(a + "</w>" for a in letters), *("".join(m) for m in merges)])
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def _merges(learner: Any) -> list[tuple[str, str]]:
    import json

    return [
        tuple(m) if isinstance(m, list) else tuple(m.split(" "))
        for m in json.loads(learner.to_str())["model"]["merges"]
    ]
