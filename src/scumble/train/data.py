"""What the built-in prior is trained on: canvases of the scenes world, drawn without end and never twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scumble.scenes.render import PALETTE, Palette, Pixels, render
from scumble.scenes.world import Scene, generator, random_scene

SIDE = 128
"""Canvas of the built-in prior, in pixels."""

JITTERED = 0.3
"""Share of pictures whose palette is varied a little: people do not paint in our exact colours."""

PADDED = 0.25
"""Share of pictures that are not square and come padded by their edge, as canvas.py pads what it is given."""


def canvases(seed: int) -> Iterator[tuple[Scene, Pixels]]:
    """(scene, uint8 (SIDE, SIDE, 3)) of the training split; equal seeds give equal streams."""
    rng = generator("train", seed)
    while True:
        scene = random_scene(rng)
        palette = jittered_palette(rng) if rng.random() < JITTERED else PALETTE
        yield (
            scene,
            padded(scene, rng, palette) if rng.random() < PADDED else render(scene, SIDE, palette=palette),
        )


def jittered_palette(rng: np.random.Generator, spread: float = 18) -> Palette:
    """The palette with every colour moved by up to `spread` (of 255) per channel."""
    return {
        name: np.clip(rng.uniform(-spread, spread, 3) + rgb, 0, 255).tolist() for name, rgb in PALETTE.items()
    }


def padded(scene: Scene, rng: np.random.Generator, palette: Palette = PALETTE) -> Pixels:
    """A picture of aspect ratio 1 to 1.6, either way up, centred on the canvas; its edge pixels fill the rest."""
    short = int(rng.integers(round(SIDE / 1.6), SIDE))
    before = (SIDE - short) // 2
    upright = bool(rng.random() < 0.5)
    picture = render(scene, (SIDE, short) if upright else (short, SIDE), palette=palette)
    bars = ((0, 0), (before, SIDE - short - before), (0, 0))
    return np.pad(picture, bars if upright else (bars[1], bars[0], bars[2]), mode="edge")
