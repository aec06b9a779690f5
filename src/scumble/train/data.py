"""What the built-in prior is trained on: canvases of the scenes world, drawn without end and never twice.

Half are the benchmark's own kind, square and canonical. Half are wide: as people draw, fitted to the canvas as
`scumble edit` fits any picture, some through a JPEG file or from another resolution.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scumble.scenes.render import PALETTE, Palette, Pixels, render
from scumble.scenes.wide import random_aspect, random_wide_scene
from scumble.scenes.world import Scene, Split, generator, random_scene

SIDE = 128
"""Canvas of the built-in prior, in pixels."""

WIDE = 0.5
"""Share of pictures of the wide world."""

JITTERED = 0.3
"""Share of canonical pictures whose palette is varied a little."""

RESAMPLED = 0.3
"""Share of wide pictures that are drawn at another resolution and resized to the canvas."""

COMPRESSED = 0.15
"""Share of wide pictures that went through a JPEG file."""


class Canvas(NamedTuple):
    """A picture on the model's canvas: the scene, its picture's width / height, uint8 (SIDE, SIDE, 3)."""

    scene: Scene
    aspect: float
    pixels: Pixels


def canvases(seed: int, split: Split = "train", count: int | None = None) -> Iterator[Canvas]:
    """Canvases of a split, by default the training's; equal seeds give equal streams.

    count: how many things each shows (None: one or two, equally often).
    """
    rng = generator(split, seed)
    while True:
        yield wide(rng, count) if rng.random() < WIDE else canonical(rng, count)


def canonical(rng: np.random.Generator, count: int | None = None) -> Canvas:
    """A square picture of a canonical scene."""
    scene = random_scene(rng, count)
    palette = jittered_palette(rng) if rng.random() < JITTERED else PALETTE
    return Canvas(scene, 1.0, render(scene, SIDE, palette=palette))


def wide(rng: np.random.Generator, count: int | None = None) -> Canvas:
    """A picture of the wide world, centred on the canvas; its edge pixels fill the rest."""
    from PIL import Image

    aspect = random_aspect(rng)
    scene = random_wide_scene(rng, count, aspect=aspect)
    inner = fitted(aspect, SIDE)
    if rng.random() < RESAMPLED:
        drawn = render(scene, fitted(aspect, int(rng.integers(90, 320))))
        picture = Image.fromarray(drawn).resize((inner[1], inner[0]), Image.Resampling.LANCZOS)
    else:
        picture = Image.fromarray(render(scene, inner))
    if rng.random() < COMPRESSED:
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=int(rng.integers(55, 96)), subsampling=int(rng.choice((0, 2))))
        picture = Image.open(file)
    rows, columns = (((SIDE - side) // 2, SIDE - side - (SIDE - side) // 2) for side in inner)
    return Canvas(scene, aspect, np.pad(np.asarray(picture), (rows, columns, (0, 0)), mode="edge"))


def fitted(aspect: float, long: int) -> tuple[int, int]:
    """(height, width) of a picture whose longer side has `long` pixels."""
    return (long, max(round(long * aspect), 16)) if aspect < 1 else (max(round(long / aspect), 16), long)


def jittered_palette(rng: np.random.Generator, spread: float = 18) -> Palette:
    """The palette with every colour moved by up to `spread` (of 255) per channel."""
    return {
        name: np.clip(rng.uniform(-spread, spread, 3) + rgb, 0, 255).tolist() for name, rgb in PALETTE.items()
    }
