"""How much of each word's cross-attention lies on what the word names, on held-out scenes, by the built-in model.

For every object whose words are its own: the share of the word's map within the object's mask, against the share of
the picture that the mask takes (equal where the map says nothing), whether the map's greatest value is on the object,
and the area under the curve that tells the mask's places from others (0.5 is chance).

    python -m scumble.bench.studies attention_maps [--n 200] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import scumble
from scumble.attention.maps import Maps, resized
from scumble.bench.rows import TableRow
from scumble.bench.statistics import interval
from scumble.core.noise import Noise
from scumble.core.pixels import to_images
from scumble.core.prior import Prior
from scumble.loops.observe import observe
from scumble.scenes import Scene, full_caption, mask_of, render, scenes

LEVELS = 10  # of noise, as `scumble attention` takes them
BATCH = 32
NAMES = ("colour", "shape")


def looked(prior: Prior, some: Sequence[Scene], first: int) -> Maps:
    """The maps of all words of the scenes' full captions."""
    with torch.no_grad():
        z = prior.encode(to_images([render(scene, prior.card.size) for scene in some]))
    times = [t for t, _ in prior.schedule.grid(LEVELS)]
    text = prior.embed([full_caption(scene) for scene in some])
    return observe(prior, z, text, times, Noise(first, len(some)))


def rows(maps: Maps, some: Sequence[Scene], first: int) -> Iterator[TableRow]:
    """One for every object, word and stride; stride 0 is the mean of all, which `Maps` shows."""
    for k, scene in enumerate(some):
        words = [getattr(thing, name) for thing in scene.things for name in NAMES]
        for thing in scene.things:
            mask = mask_of(thing, 128)
            for name in NAMES:
                word = getattr(thing, name)
                if words.count(word) > 1:
                    continue
                tokens = maps.text.spans(word)[k]
                by_stride = {s: x[k, tokens].sum(0) for s, x in maps.strides.items()} | {0: maps[word][k, 0]}
                for stride, heat in by_stride.items():
                    about = {"scene": first + k, "things": len(scene.things), "size": thing.size}
                    yield {**about, "word": name, "stride": stride, **scores(heat, mask)}


def scores(heat: torch.Tensor, mask: NDArray[np.float32]) -> TableRow:
    """Of a map (h, w), spread over the mask's pixels."""
    large = resized(heat[None, None], mask.shape)[0, 0].numpy().astype(np.float64)
    share, area = (large * mask).sum() / large.sum(), mask.mean()
    inside = mask > 0.5
    order = large.ravel().argsort().argsort() + 1.0  # ranks: Mann and Whitney's statistic
    n, m = inside.sum(), (~inside).sum()
    auc = (order[inside.ravel()].sum() - n * (n + 1) / 2) / (n * m)
    on = bool(inside.flat[large.argmax()])
    return {"share": float(share), "area": float(area), "on": on, "auc": float(auc)}


def table(found: Sequence[TableRow]) -> str:
    """Means with 95 % intervals by number of objects, word and stride, in Markdown."""
    groups: dict[tuple[int, str, int], list[TableRow]] = defaultdict(list)
    for row in found:
        groups[row["things"], row["word"], row["stride"]].append(row)
    lines = [
        "| objects | word | maps of stride | share of the map on the object, % | the object's area, % | "
        "peak on it, % | AUC | words |",
        "|--:|---|---|--:|--:|--:|--:|--:|",
    ]
    for (things, word, stride), group in sorted(groups.items()):
        cells = [shown([row[key] for row in group], scale) for key, scale in
                 (("share", 100), ("area", 100), ("on", 100), ("auc", 1))]  # fmt: skip
        name = str(stride or "all, as drawn")
        lines.append(f"| {things} | {word} | {name} | {' | '.join(cells)} | {len(group)} |")
    return "\n".join(lines)


def shown(values: Sequence[float], scale: float) -> str:
    found = interval(np.array(values, float) * scale)
    digits = 2 if scale == 1 else 0
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/attention-maps.jsonl"))
    asked = parser.parse_args(words)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    prior, drawn, found = scumble.load("scenes", device="cpu"), scenes("test", seed=7), []
    for first in range(0, asked.n, BATCH):
        some = list(islice(drawn, min(BATCH, asked.n - first)))
        found += rows(looked(prior, some, first), some, first)
    asked.out.write_text("".join(json.dumps(row) + "\n" for row in found))
    print(table(found))
