"""DreamBooth's identity: a shape that the built-in model never saw is bound to a rare word from four pictures.

A crescent with a hole, drawn at four places on a white ground, is learned as "a red sks on a white background" (LoRA),
with and without pictures of the class. Then it is asked for in other places and on other grounds. The drawn object is
found by its colour, and templates of the renderer are fitted to it: the crescent's and those of the eight known
shapes, each moved and scaled for the largest overlap (intersection over union). The identity is kept where the
crescent's overlap is the largest. The class ("a red star") is painted by both, and read by the same fit.

    python scripts/identity.py [--steps 200] [--rate 1e-3] [--rank 16] [--class-n 4] [--sheet OUT]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import scumble
from scumble.core.pixels import to_images
from scumble.pictures import sheets
from scumble.pictures.sheets import Cell
from scumble.scenes.render import SHAPE, Floats, coverage, paint_background
from scumble.train import tune

SIDE, WORD, RED = 128, "sks", (220, 40, 40)
PROMPT, CLASS = f"a red {WORD} on a white background", "a red star on a white background"
TARGETS = "to_q,to_k,to_v,to_out.0,conv1,conv2"
PLACES = (
    (0.35, 0.4, 0.26),
    (0.62, 0.36, 0.2),
    (0.42, 0.64, 0.23),
    (0.6, 0.6, 0.28),
)  # centre and radius, in sides
ASKED = (
    PROMPT,
    f"a red {WORD} in the top left on a white background",
    f"a red {WORD} in the lower right on a white background",
    f"a red {WORD} on a sky background",
    f"a red {WORD} on a sand background",
    f"a red {WORD} on a brick background",
)
"""The prompt that was learned, two other places, three other grounds."""


def crescent(x: Floats, y: Floats, r: float) -> Floats:
    """The signed distance of a crescent with a hole, as the renderer's shapes have it; below 0 inside."""
    circle = SHAPE["circle"]
    moon = np.maximum(circle(x, y, r), -circle(x - 0.55 * r, y, 0.72 * r))
    return np.maximum(moon, -circle(x + 0.6 * r, y, 0.16 * r))


TEMPLATES: Mapping[str, Any] = {"crescent": crescent, **SHAPE}


def drawn(shape: str, x: float, y: float, r: float) -> Floats:
    """Coverage (SIDE, SIDE) in [0, 1] of a template; centre and radius in pixels."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return coverage(TEMPLATES[shape](columns - x, rows - y, r))


def example(x: float, y: float, r: float) -> np.ndarray:
    """A picture that is learned, uint8 (SIDE, SIDE, 3)."""
    cover = drawn("crescent", x * SIDE, y * SIDE, r * SIDE)[..., None]
    ground = paint_background("white", SIDE, SIDE)
    ground = ground * 255 if ground.max() <= 1 else ground
    return (ground * (1 - cover) + np.asarray(RED) * cover).round().clip(0, 255).astype(np.uint8)


def fitted(pixels: np.ndarray) -> dict[str, float]:
    """The overlap of each template with what is red in a picture."""
    values = pixels.astype(float) / 255
    red = np.clip((values[..., 0] - values[..., 1:].max(2)) / 0.5, 0, 1)
    if red.sum() < 20:
        return dict.fromkeys(TEMPLATES, 0.0)
    rows, columns = np.nonzero(red > 0.5)
    if not len(rows):
        return dict.fromkeys(TEMPLATES, 0.0)
    x, y = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    r = max(np.ptp(columns), np.ptp(rows)) / 2 + 0.5
    return {shape: _overlap(shape, red, float(x), float(y), float(r)) for shape in TEMPLATES}


def _overlap(shape: str, red: Floats, x: float, y: float, r: float) -> float:
    """The best overlap over poses, from coarse to fine."""
    best, pose, reach = 0.0, (x, y, r), 0.3
    for _ in range(4):
        x, y, r = pose
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                for grow in (-1, 0, 1):
                    tried = (x + reach * r * dx, y + reach * r * dy, r * (1 + reach * grow))
                    cover = drawn(shape, *tried)
                    overlap = float(np.minimum(cover, red).sum() / np.maximum(cover, red).sum())
                    if overlap > best:
                        best, pose = overlap, tried
        reach /= 2
    return best


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="identity")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--class-n", type=int, default=4)
    parser.add_argument("--preservation", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--sheet", type=Path, default=None)
    options = parser.parse_args(words)
    prior = scumble.load("scenes", device="cpu")
    cells = [Cell(sheets.panel(Image.fromarray(example(*place)), 128, 256), ["learned"]) for place in PLACES]
    say(f"{options.steps} steps, rank {options.rank}, rate {options.rate:g}; one picture per prompt\n")
    say("| prior preservation | minutes | crescent is the best fit | its overlap | class stays a star |")
    say("|---|--:|--:|--:|--:|")
    seen = [to_images([example(*place)]) for place in PLACES]
    for preservation in options.preservation:
        chosen = {"steps": options.steps, "rate": options.rate, "rank": options.rank, "targets": TARGETS}
        chosen |= {"preservation": preservation, "class_n": options.class_n}
        asked = tune.Asked(
            recipe=tune.values("dreambooth", chosen), prompt=PROMPT, word=WORD, class_prompt=CLASS
        )
        began = time.monotonic()
        others = tune.class_pictures(prior, asked, (SIDE, SIDE), lambda *_: None)
        with TemporaryDirectory() as folder:
            made = tune.tune(prior, seen, asked, Path(folder) / "it.tuned", others=others)
        minutes = (time.monotonic() - began) / 60
        given, quick = {"tuned": made}, {"sampler": "dpm", "steps": 20}
        pictures = [
            scumble.paint(prompt, model=prior, given=given, seed=seed, settings=quick).picture
            for seed, prompt in enumerate((*ASKED, CLASS, CLASS))
        ]
        fits = [fitted(np.asarray(picture)) for picture in pictures]
        best = [max(fit, key=lambda shape: fit[shape]) for fit in fits]
        kept, stays = best[: len(ASKED)].count("crescent"), best[len(ASKED) :].count("star")
        overlap = mean(fit["crescent"] for fit in fits[: len(ASKED)])
        name = "on" if preservation else "off"
        say(f"| {name} | {minutes:.1f} | {kept} of {len(ASKED)} | {overlap:.2f} | {stays} of 2 |")
        for prompt, picture, shape in zip((*ASKED, CLASS, CLASS), pictures, best, strict=True):
            assert picture is not None
            cells.append(Cell(sheets.panel(picture, 128, 256), [f"{prompt} ({name})", shape]))
    if options.sheet:
        sheets.sheet(cells, title="DreamBooth").save(options.sheet)


if __name__ == "__main__":
    main(sys.argv[1:])
