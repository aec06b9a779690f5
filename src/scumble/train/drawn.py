"""Pictures for the denoiser, with all that a generator knows of them; drawn here or by worker processes.

Everything is a tensor: words are already tokens and questions already answers, so that a batch is made where the
training runs, without touching Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from scumble.scenes.render import mask_of
from scumble.scenes.world import COLOURS, GROUNDS, SHAPES, TEXTURES, Scene, Split

from .captions import prompt, tokens
from .data import SIDE, Canvas, canvases, fitted
from .reading import questions
from .tokenizer import new_tokenizer

CELLS = SIDE // 8
"""Side of the latents; a cell is one latent's square of pixels."""

COVERED = 0.3
"""An object owns the cells that it covers by more than this."""

AT_ONCE = 32
"""Pictures that are drawn and encoded together: the codec's own layers take 2 MB each."""


@dataclass(frozen=True)
class Drawn:
    """n pictures: pixels uint8 (n, SIDE, SIDE, 3), and what Batch has, with several captions a picture."""

    pixels: Tensor
    owners: Tensor
    things: Tensor
    grounds: Tensor
    ids: Tensor
    refers: Tensor
    nouns: Tensor
    ends: Tensor

    @classmethod
    def of(cls, shown: list[Canvas], rng: np.random.Generator, tokenizer: Any, *, captions: int, full: float):
        """Canvases, and captions of them. full: the share of captions that leave nothing unsaid."""
        scenes = [canvas.scene for canvas in shown for _ in range(captions)]
        texts = [prompt(scene, rng, unprompted=0, full=full) for scene in scenes]
        ids, refers = tokens(tokenizer, texts, scenes)
        nouns, ends = (torch.from_numpy(np.stack(p)) for p in zip(*map(questions, texts), strict=True))
        several = (len(shown), captions)
        return cls(
            torch.from_numpy(np.stack([c.pixels for c in shown])),
            torch.from_numpy(np.stack([owners_of(c) for c in shown])),
            torch.from_numpy(np.stack([attributes_of(c.scene) for c in shown])),
            torch.tensor([GROUNDS.index(c.scene.background) for c in shown], dtype=torch.uint8),
            ids.short().unflatten(0, several),
            refers.byte().unflatten(0, several),
            nouns.char().unflatten(0, several),
            ends.char().unflatten(0, several),
        )


class Drawings(IterableDataset[Drawn]):
    """Chunks of `at_once` pictures without end; every worker of a DataLoader draws others.

    seed: of the pictures and their captions; (seed, worker) gives a stream of its own.
    """

    def __init__(
        self,
        seed: int,
        split: Split = "train",
        *,
        captions: int = 4,
        full: float = 0.5,
        at_once: int = AT_ONCE,
    ):
        self.seed, self.captions, self.full, self.at_once = seed, captions, full, at_once
        self.split: Split = split

    def __iter__(self) -> Iterator[Drawn]:
        info = torch.utils.data.get_worker_info()
        worker = 0 if info is None else info.id
        stream = canvases(self.seed + 1_000_003 * worker, self.split)
        rng, tokenizer = np.random.default_rng([12, self.seed, worker]), new_tokenizer()
        while True:
            shown = list(islice(stream, self.at_once))
            yield Drawn.of(shown, rng, tokenizer, captions=self.captions, full=self.full)

    def by(self, workers: int) -> Iterator[Drawn]:
        """The chunks, drawn by `workers` processes ahead of need; by this one with 0."""
        if not workers:
            return iter(self)
        # spawned: the parent has threads and perhaps a CUDA context, which a fork must not copy
        return iter(
            DataLoader(
                self, batch_size=None, num_workers=workers, prefetch_factor=2, multiprocessing_context="spawn"
            )
        )


def owners_of(canvas: Canvas) -> np.ndarray:
    """For each cell of the canvas 0 (ground) or k + 1 (thing k): uint8 (CELLS, CELLS)."""
    height, width = fitted(canvas.aspect, SIDE)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    covers = np.full((len(canvas.scene.things) + 1, CELLS, CELLS), COVERED, np.float32)
    whole = np.zeros((SIDE, SIDE), np.float32)
    for k, thing in enumerate(canvas.scene.things):
        whole[top : top + height, left : left + width] = mask_of(thing, (height, width))
        covers[k + 1] = whole.reshape(CELLS, 8, CELLS, 8).mean((1, 3))
    return covers.argmax(0).astype(np.uint8)


def attributes_of(scene: Scene) -> np.ndarray:
    """Shape, colour and texture of each thing, counted from 1, in rows 1 and 2: uint8 (3, 3)."""
    table = np.zeros((3, 3), np.uint8)
    for row, thing in enumerate(scene.things, 1):
        names = (SHAPES.index(thing.shape), tuple(COLOURS).index(thing.colour), TEXTURES.index(thing.texture))
        table[row] = np.add(names, 1)
    return table
