"""What `dds_fast` saves, and whether its mask helps the layer; on scenes of the validation split.

    python -m scumble.bench.studies fast time [--rounds 5] [--model scenes] [--dtype DTYPE]
    python -m scumble.bench.studies fast mask [--count 60] [--model scenes] [--dtype DTYPE]

time: seconds (the codec's taken off) and evaluations of an edit by 200-step `dds`, by `dds_fast`, and by `dds_fast`
where 8 targets edit one picture. One round times each of them once, in a new order; the medians of all rounds count.
mask: the layer with its plain threshold, against one that sees the difference only where the method's mask lets it.
Done: at most a quarter of the source's squared error to the true edit is left inside the true mask. Preserved: PSNR to
the source outside it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch
from PIL import Image

import scumble
from scumble.bench.making import Clocked
from scumble.bench.statistics import interval
from scumble.core.precision import fast_dtype
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.measuring.judge import Known, judge
from scumble.pictures import reading
from scumble.pictures.canvas import Fit, to_canvas
from scumble.pictures.layer import Layer, lift, opaque
from scumble.scenes import KINDS, SceneEdit, edits, generator, random_edit
from scumble.scenes.world import COLOURS

GUIDANCE = 3.0  # of dds: what the built-in model's card recommends
GATE = 0.25  # of the mask, from which the layer sees the whole difference
Run = Callable[[], tuple[float, int]]


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("time", "mask"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--steps", type=int, default=200, help="of dds, which dds_fast is compared with")
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--dtype", default=str(fast_dtype()).removeprefix("torch."))
    asked = parser.parse_args(words)
    prior = scumble.load(asked.model, dtype=asked.dtype)
    if asked.what == "time":
        times(prior, asked.rounds, asked.steps)
    else:
        masks(prior, asked.count)


# Time


def times(prior: Prior, rounds: int, steps: int) -> None:
    edit = random_edit(generator("validation", 0), "recolour")
    image, targets = on_canvas(prior, edit), several(edit)
    one = EditRequest(image=image, source=edit.source_caption, target=edit.target_caption)
    eight = EditRequest(image=image, source=edit.source_caption, target=targets)
    runs: dict[str, Run] = {
        f"dds, {steps} steps": lambda: timed(scumble.DDS(steps=steps, guidance=GUIDANCE), prior, one),
        "dds_fast": lambda: timed(scumble.DDSFast(), prior, one),
        f"dds_fast, {len(targets)} targets": lambda: timed(scumble.DDSFast(), prior, eight),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    evaluations: dict[str, int] = {}
    order, shuffle = list(runs), random.Random(0)
    for round_ in range(-1, rounds):
        shuffle.shuffle(order)
        for name in order:
            took, evaluations[name] = runs[name]()
            if round_ >= 0:  # the one before warms up
                seconds[name].append(took)
    first = next(iter(runs))
    whole = statistics.median(seconds[first]), evaluations[first]
    print("| | seconds an edit | of dds | evaluations an edit | of dds |\n|---|--:|--:|--:|--:|")
    for name in runs:
        took, asked = statistics.median(seconds[name]), evaluations[name]
        print(f"| {name} | {took:.3f} | {took / whole[0]:.3f} | {asked} | {asked / whole[1]:.3f} |")


def several(edit: SceneEdit) -> list[str]:
    """Eight colours for what is recoloured."""
    words = zip(edit.source_caption.split(), edit.target_caption.split(), strict=True)
    new = next(b for a, b in words if a != b)
    return [edit.target_caption.replace(new, colour) for colour in list(COLOURS)[:8]]


def timed(method: scumble.DDS | scumble.DDSFast, prior: Prior, request: EditRequest) -> tuple[float, int]:
    """Seconds but for the codec's and evaluations, per edit."""
    clocked, began = Clocked(prior), time.perf_counter()
    edit = method(clocked, request)
    return (time.perf_counter() - began - clocked.seconds) / len(edit.raw), edit.evaluations


# The mask and the layer


@torch.no_grad()
def masks(prior: Prior, count: int) -> None:
    kinds = [kind for kind in KINDS if kind != "noop"]
    rows: dict[str, list[tuple[float, float | None]]] = {
        "the method's own picture": [],
        "plain": [],
        "masked": [],
    }
    side, method = prior.card.size, scumble.DDSFast()
    for i, edit in enumerate(islice(edits("validation", 100, kinds), count)):
        image, known = on_canvas(prior, edit), Known.of(edit, side)
        request = EditRequest(image=image, source=edit.source_caption, target=edit.target_caption, seed=i)
        made = method(prior, request)
        before = prior.decode(prior.encode(image))
        gate = (made.mask / GATE).clamp(max=1).float()
        gate = torch.nn.functional.interpolate(gate, made.raw.shape[-2:], mode="bilinear")
        picture, fit = (
            reading.read(Image.fromarray(known.source)),
            Fit.of((side, side), side, prior.card.multiple),
        )
        seen = lift(before, before + gate * (made.raw - before), picture, fit)
        plain = lift(before, made.raw, picture, fit)
        layers = (opaque(made.raw, fit), plain, Layer(plain.colour, seen.opacity, seen.threshold))
        for name, layer in zip(rows, layers, strict=True):
            judged = judge(known, np.asarray(layer.over(picture.rgb)), read=False)
            rows[name].append((float(judged.done or False), judged.preserved))
    print("| the layer | done, % | preserved, dB | against plain: done | preserved |\n|---|--:|--:|--:|--:|")
    for name, found in rows.items():
        done, kept = (np.array([row[k] for row in found], float) for k in (0, 1))
        was_done, was_kept = (np.array([row[k] for row in rows["plain"]], float) for k in (0, 1))
        apart = said(100 * (done - was_done)), said((kept - was_kept)[~np.isnan(kept)])
        print(f"| {name} | {100 * done.mean():.1f} | {np.nanmean(kept):.2f} | {apart[0]} | {apart[1]} |")


def said(values: np.ndarray) -> str:
    found = interval(values)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def on_canvas(prior: Prior, edit: SceneEdit) -> torch.Tensor:
    side = prior.card.size
    fit = Fit.of((side, side), side, prior.card.multiple)
    return to_canvas(reading.read(Image.fromarray(Known.of(edit, side).source)), fit)
