"""Captions of scenes as token ids, with the object that each token refers to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scumble.scenes.grammar import caption, full_caption, parse
from scumble.scenes.world import Scene

from .tokenizer import LENGTH


def prompt(scene: Scene, rng: np.random.Generator, *, unprompted: float, full: float) -> str:
    """The prompt for a scene: empty, the full caption, or part of it in varied words."""
    if rng.random() < unprompted:
        return ""
    if rng.random() < full:  # nothing unsaid: the clearest lesson in what belongs to which object
        return full_caption(scene, rng.permutation(len(scene.things)).tolist())
    return caption(scene, rng)


def owners(text: str, scene: Scene) -> list[int]:
    """For each token of the padded prompt, k + 1 if it refers to the scene's object k, else 0."""
    row = [0] * LENGTH
    if not text:
        return row
    constraints, words = parse(text)
    order = constraints.assignment(scene.things)
    assert order is not None, text
    at = 0
    for position, piece in enumerate(re.findall(r"[a-z]+|[^a-z\s]", text.lower()), 1):
        if not piece.isalpha():
            continue
        owner = words[at]
        at += 1
        if owner is not None and position < LENGTH:
            row[position] = order[owner] + 1
    return row


def tokens(tokenizer: Any, texts: Sequence[str], scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """(ids, objects referred to), both (n, LENGTH)."""
    ids = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids, torch.tensor([owners(t, s) for t, s in zip(texts, scenes, strict=True)])
