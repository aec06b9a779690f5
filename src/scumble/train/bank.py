"""The denoiser's data: latents of pictures, the objects in them, and the scenes that captions are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.pixels import to_images
from scumble.scenes.render import mask_of
from scumble.scenes.world import COLOURS, GROUNDS, SHAPES, TEXTURES, Scene

from .data import SIDE, Canvas, fitted

CELLS = SIDE // 8
"""Side of the latents; a cell is one latent's square of pixels."""

COVERED = 0.3
"""An object owns the cells that it covers by more than this."""

AT_ONCE = 32
"""Pictures that are encoded together: the codec's own layers take 2 MB each."""


@dataclass(frozen=True)
class Batch:
    """n pictures: latents (n, C, CELLS, CELLS) of unit variance, owners, attributes, scenes.

    owners: (n, CELLS, CELLS), 0 the ground, k + 1 the scene's thing k. things: (n, 3, 3), of each thing its shape,
    colour and texture, counted from 1; row 0 is the ground's zeros, so that an owner indexes it. grounds: (n,).
    """

    latents: Tensor
    owners: Tensor
    things: Tensor
    grounds: Tensor
    scenes: list[Scene]

    def to(self, device: torch.device) -> Batch:
        moved = {name: getattr(self, name).to(device) for name in ("latents", "owners", "things", "grounds")}
        return replace(self, **moved)


class Bank:
    """A ring of pictures that is refilled during training: new ones replace the oldest.

    encode: maps pictures (n, 3, SIDE, SIDE) to latents. capacity: the maximum number of pictures. Raises InputError
    for a capacity that does not fit into memory.
    """

    def __init__(
        self, stream: Iterator[Canvas], encode: Callable[[Tensor], Tensor], channels: int, capacity: int
    ):
        import psutil

        need = capacity * CELLS**2 * (2 * channels + 1)
        free = psutil.virtual_memory().available
        if need > 0.6 * free:
            raise InputError(
                f"bank: {capacity:,} pictures take {need / 2**30:.1f} GiB of memory and {free / 2**30:.1f} are free; "
                f"ask for at most {int(capacity * 0.6 * free / need):,} (--bank)"
            )
        self.stream, self.encode, self.capacity = stream, encode, capacity
        self.count, self.next = 0, 0
        self._latents = torch.empty(capacity, channels, CELLS, CELLS, dtype=torch.float16)
        self._owners = torch.empty(capacity, CELLS, CELLS, dtype=torch.uint8)
        self._things = torch.zeros(capacity, 3, 3, dtype=torch.uint8)
        self._grounds = torch.zeros(capacity, dtype=torch.uint8)
        self._scenes: list[Scene] = []

    def grow(self, count: int) -> None:
        """Draws, encodes and keeps `count` new pictures, a few at a time."""
        for _ in range(count // AT_ONCE):
            self._add(AT_ONCE)
        self._add(count % AT_ONCE)

    def _add(self, count: int) -> None:
        if not count:
            return
        canvases = list(islice(self.stream, count))
        latents = self.encode(to_images([c.pixels for c in canvases])).half().cpu()
        for canvas, latent in zip(canvases, latents, strict=True):
            k = self.next
            self._latents[k] = latent
            self._owners[k] = torch.from_numpy(owners_of(canvas))
            self._things[k] = torch.from_numpy(attributes_of(canvas.scene))
            self._grounds[k] = GROUNDS.index(canvas.scene.background)
            if k == len(self._scenes):
                self._scenes.append(canvas.scene)
            else:
                self._scenes[k] = canvas.scene
            self.next = (k + 1) % self.capacity
            self.count = min(self.count + 1, self.capacity)

    def batch(self, picked: np.ndarray) -> Batch:
        """The pictures of some numbers below `count`."""
        at = torch.from_numpy(picked)
        return Batch(
            self._latents[at].float(),
            self._owners[at].long(),
            self._things[at].long(),
            self._grounds[at].long(),
            [self._scenes[int(i)] for i in picked],
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


def encoder(codec: Any, autocast: Callable[[], Any], device: torch.device) -> Callable[[Tensor], Tensor]:
    """Pictures to latents of unit variance, with a frozen codec."""
    codec = codec.to(device).eval().requires_grad_(False)

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad(), autocast():
            return codec.encode(images.to(device)).latent_dist.mean.float() * codec.config.scaling_factor

    return encode
