"""Stage two of the recipe: the text encoder learns to understand captions before the denoiser uses it.

Binding "red" to "circle" and "blue" to "star" is a question of language. The encoder learns it in minutes from
captions alone: at each object's noun, what was said about that object; at the end, everything that the caption says.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.scenes.grammar import ATTRIBUTES, parse
from scumble.scenes.wide import random_wide_scene
from scumble.scenes.world import CELLS, COLOURS, GROUNDS, LOOKS, SHAPES, SIZES, TEXTURES, generator

from .captions import prompt, tokens
from .run import Run
from .tokenizer import LENGTH, new_tokenizer

VALUES = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "size": tuple(SIZES),
    "place": tuple(CELLS),
}
IGNORED = -100

ENDS = 2 * len(VALUES) + 2
"""Questions at a caption's end: each value of two objects, the background, and day or night."""


@dataclass(frozen=True, kw_only=True)
class ReadingRecipe:
    """Everything that decides the text encoder's first weights, apart from the machine's arithmetic."""

    minutes: float = 5
    seed: int = 0
    batch: int = 128
    rate: float = 1e-3


class Questions(nn.Module):
    """The heads that question a text encoder of some width; none is kept afterwards."""

    def __init__(self, width: int):
        super().__init__()
        self.sizes = [len(names) + 1 for names in VALUES.values()]
        self.noun = nn.Linear(width, sum(self.sizes))
        self.whole = nn.Linear(width, 2 * sum(self.sizes) + len(GROUNDS) + 1 + len(LOOKS) + 1)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (b, L, width) -> logits at every token (b, L, .) and at the last one (b, .)."""
        return self.noun(hidden), self.whole(hidden[:, -1])

    def loss(self, hidden: Tensor, nouns: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, the share of captions of which everything is read correctly at the end)."""
        at_nouns, at_end = self(hidden)
        losses = [
            _cross_entropy(part.flatten(0, 1), nouns[..., k].flatten())
            for k, part in enumerate(at_nouns.split(self.sizes, dim=-1))
        ]
        parts = at_end.split([*self.sizes, *self.sizes, len(GROUNDS) + 1, len(LOOKS) + 1], dim=-1)
        losses += [_cross_entropy(part, ends[:, k]) for k, part in enumerate(parts)]
        guesses = torch.stack([part.argmax(-1) for part in parts], 1)
        asked = (ends != IGNORED).any(1)
        right = ((guesses == ends) | (ends == IGNORED)).all(1) & asked
        return torch.stack(losses).mean(), right.sum() / asked.sum().clamp(min=1)


class Reading(nn.Module):
    """A text encoder and the heads that question it."""

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder
        self.heads = Questions(encoder.config.hidden_size)

    def forward(self, ids: Tensor, nouns: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """What Questions.loss gives for captions, (b, L) ids."""
        return self.heads.loss(self.encoder(ids).last_hidden_state, nouns, ends)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """The mean over what is asked, 0 where nothing is; without a look at the values, which would stall a GPU."""
    total = F.cross_entropy(logits.float(), wanted, ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum().clamp(min=1)


def questions(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The questions about a caption: at its nouns (LENGTH, 5), and at its end (12,); 0 means not said."""
    nouns, whole = np.full((LENGTH, len(VALUES)), IGNORED), np.full(ENDS, IGNORED)
    if not text:
        return nouns, whole
    constraints, words = parse(text)
    positions = _positions(text)
    for k, wanted in enumerate(constraints.things):
        named = [getattr(wanted, a) for a in ATTRIBUTES]
        answers = [VALUES[a].index(v) + 1 if v else 0 for a, v in zip(ATTRIBUTES, named, strict=True)]
        whole[k * len(VALUES) : (k + 1) * len(VALUES)] = answers
        last = max(i for i, owner in enumerate(words) if owner == k)
        if positions[last] < LENGTH:
            nouns[positions[last]] = answers
    whole[-2] = GROUNDS.index(constraints.background) + 1 if constraints.background else 0
    whole[-1] = LOOKS.index(constraints.look) + 1 if constraints.look else 0
    return nouns, whole


def _positions(text: str) -> list[int]:
    """The token of each word: one a word, one a comma, after the start token."""
    found, at = [], 1
    for word in text.replace(",", " , ").split():
        if word != ",":
            found.append(at)
        at += 1
    return found


def train_reading(recipe: ReadingRecipe, encoder: Any, folder: Path) -> Any:
    """Train the text encoder, log to `folder/reading.jsonl`; returns it, with its averaged weights."""
    torch.manual_seed(recipe.seed)
    run = Run(
        "reading", folder, Reading(encoder), rate=recipe.rate, minutes=recipe.minutes, ema=0.998,
        recipe=asdict(recipe),
    )  # fmt: skip
    rng = generator("train", 5000 + recipe.seed + run.step)
    tokenizer = new_tokenizer()
    with run:
        while run.going():
            scenes = [random_wide_scene(rng) for _ in range(recipe.batch)]
            texts = [prompt(s, rng, unprompted=0, full=0.3) for s in scenes]
            asked = [questions(t) for t in texts]
            ids, _ = tokens(tokenizer, texts, scenes)
            nouns, whole = (torch.from_numpy(np.stack(part)) for part in zip(*asked, strict=True))
            with run.autocast():
                loss, right = run.model(*(x.to(run.device) for x in (ids, nouns, whole)))
            run.update(loss, pictures=recipe.batch, right=right.detach())
            if run.due:
                run.save()
    return run.finish().encoder
