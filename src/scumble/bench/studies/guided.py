"""What guidance does: a classifier's scale, CLIP against classifier-free guidance, two prompts, trained directions.

    python -m scumble.bench.studies guided scale|words|two|directions [--n 16] [--given NAME=FILE] [--out FILE]

On the built-in model and validation scenes; read: what the parser of the scenes world finds in a picture.

scale: samples without text towards a colour and a shape, four seeds of each, under growing scales of the classifier
(`--given classifier=FOLDER`, by default the package's). Right: the share that reads as one object of this colour and
shape. Spread: the root mean square distance of two samples of the same class, in levels of 255.
words: samples of "a red circle on a white background", by `sdg` with the package's CLIP and without the prompt, and
by classifier-free guidance, at equal evaluations. Shape, colour, ground: shares that read right.
two: two objects in one prompt, against one prompt for each (composition). Both: the share that reads as these two.
directions: day pictures edited by a trained direction "at night" (`--given direction=FILE` and `--given tuned=FILE`).
Night: the share that reads so; same: the share whose objects read as before; change: RMS, in levels of 255.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

import scumble
from scumble.bench.studies.constrained import SIDE, Row, Settings, keep, table
from scumble.core.noise import Noise
from scumble.core.pixels import Pixels, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.editing import given
from scumble.editing.plan import choose
from scumble.methods import get
from scumble.scenes import Scene, read_picture, render, scenes, short_caption

Given = Mapping[str, object]
Made = tuple[list[Row], list[list[Pixels]]]

SEEDS = 4
SCALE: Mapping[str, Settings] = {f"scale = {s}": {"scale": float(s)} for s in (0, 1, 3, 10, 30)}
WORDS: Mapping[str, tuple[str, Settings]] = {
    "sdg, text_weight = 160": ("sdg", {"steps": 50}),
    "sdg, text_weight = 640": ("sdg", {"steps": 50, "text_weight": 640.0}),
    "sdg, text_weight = 2560": ("sdg", {"steps": 50, "text_weight": 2560.0}),
    "classifier-free guidance": ("sampling", {"steps": 25}),
}


def sampled(
    prior: Prior, name: str, settings: Settings, request: EditRequest
) -> tuple[list[Pixels], int, float]:
    """A method's own pictures with the values that the card recommends, its evaluations and seconds per picture."""
    method, _ = choose(name, get(name), prior.card, settings)
    began = time.perf_counter()
    edit = method(prior, request)
    pictures = list(to_pixels(edit.raw))
    return pictures, edit.evaluations, (time.perf_counter() - began) / len(pictures)


def things_of(picture: Pixels) -> list[tuple[str, str]]:
    """(colour, shape) of every object that is read."""
    return sorted((thing.colour, thing.shape) for thing in read_picture(picture).scene.things)


# The classifier's scale ----------------------------------------------------------------------------------


def scale(prior: Prior, n: int, known: Given) -> Made:
    drawn = list(islice(scenes("validation", 31, 1), max(n // SEEDS, 1)))
    targets = [f"a {s.things[0].colour} {s.things[0].shape}" for s in drawn for _ in range(SEEDS)]
    wanted = [(s.things[0].colour, s.things[0].shape) for s in drawn for _ in range(SEEDS)]
    networks = known or given.read({"classifier": "scenes"})
    seeds = [k % SEEDS for k in range(len(targets))]  # the same for every class
    rows: list[Row] = []
    shown: list[list[Pixels]] = [[] for _ in targets]
    for label, settings in SCALE.items():
        asked = {"steps": 50, "form": "score", "eta": 0.0, **settings}
        request = EditRequest(target=targets, size=(SIDE, SIDE), noise=Noise.of(seeds), given=networks)
        pictures, calls, seconds = sampled(prior, "classifier_guidance", asked, request)
        for i, picture in enumerate(pictures):
            others = pictures[i - i % SEEDS : i - i % SEEDS + SEEDS]
            pairs = [rms(a, b) for a, b in combinations(others, 2)]
            rows.append(
                {
                    "case": label,
                    "id": i,
                    "right": float(things_of(picture) == [wanted[i]]),
                    "spread": float(np.mean(pairs)),
                    "evaluations": calls,
                    "seconds": seconds,
                }
            )
            shown[i].append(picture)
    return rows, shown


def rms(a: Pixels, b: Pixels) -> float:
    return float(np.sqrt(np.square(a.astype(np.float64) - b).mean()))


# CLIP against classifier-free guidance -------------------------------------------------------------------


def words(prior: Prior, n: int, known: Given) -> Made:
    drawn = [s for s in islice(scenes("validation", 32, 1), 2 * n) if s.look == "day"][:n]
    networks = known or given.read({"clip": "scenes"})
    rows: list[Row] = []
    shown: list[list[Pixels]] = [[] for _ in drawn]
    for label, (name, settings) in WORDS.items():
        request = EditRequest(
            target=[short_caption(scene) for scene in drawn],
            size=(SIDE, SIDE),
            noise=Noise.of(range(len(drawn))),
            given=networks if name == "sdg" else {},
        )
        pictures, calls, seconds = sampled(prior, name, settings, request)
        for i, (picture, scene) in enumerate(zip(pictures, drawn, strict=True)):
            found, thing = read_picture(picture).scene, scene.things[0]
            rows.append(
                {
                    "case": label,
                    "id": i,
                    "shape": float([t.shape for t in found.things] == [thing.shape]),
                    "colour": float([t.colour for t in found.things] == [thing.colour]),
                    "ground": float(found.background == scene.background),
                    "all": float(
                        things_of(picture) == [(thing.colour, thing.shape)]
                        and found.background == scene.background
                    ),
                    "evaluations": calls,
                    "seconds": seconds,
                }
            )
            shown[i].append(picture)
    return rows, shown


# Two objects ---------------------------------------------------------------------------------------------


def two(prior: Prior, n: int, known: Given) -> Made:
    drawn = [s for s in islice(scenes("validation", 33, 2), 2 * n) if s.look == "day"][:n]
    rows: list[Row] = []
    shown: list[list[Pixels]] = [[] for _ in drawn]
    cases: Mapping[str, tuple[Callable[[Scene], Any], Settings]] = {
        "one prompt": (short_caption, {"steps": 25}),
        "one prompt, more levels": (short_caption, {"steps": 37}),
        "a prompt for each": (lambda scene: [alone(scene, k) for k in (0, 1)], {"steps": 25}),
    }
    for label, (prompts, settings) in cases.items():
        for i, scene in enumerate(drawn):
            asked = prompts(scene)
            first, *also = [asked] if isinstance(asked, str) else asked
            request = EditRequest(
                target=first, also=[(text, 1.0) for text in also], size=(SIDE, SIDE), seed=i
            )
            (picture,), calls, seconds = sampled(prior, "sampling", settings, request)
            right = things_of(picture) == sorted((t.colour, t.shape) for t in scene.things)
            rows.append(
                {"case": label, "id": i, "both": float(right), "evaluations": calls, "seconds": seconds}
            )
            shown[i].append(picture)
    return rows, shown


def alone(scene: Scene, k: int) -> str:
    thing = scene.things[k]
    return short_caption(Scene(things=(thing,), background=scene.background))


# Directions ----------------------------------------------------------------------------------------------


def directions(prior: Prior, n: int, known: Given) -> Made:
    drawn = [s for s in islice(scenes("validation", 34, 1), 3 * n) if s.look == "day"][:n]
    true = [render(scene, SIDE) for scene in drawn]
    methods = {"direction": "asyrp", "tuned": "diffusionclip"}
    rows: list[Row] = []
    shown = [[picture] for picture in true]
    for name, value in known.items():
        request = EditRequest(image=to_images(true), seed=0, given={name: value})
        pictures, calls, seconds = sampled(prior, methods[name], {}, request)
        for i, (picture, before) in enumerate(zip(pictures, true, strict=True)):
            rows.append(
                {
                    "case": methods[name],
                    "id": i,
                    "night": float(read_picture(picture).scene.look == "night"),
                    "same": float(things_of(picture) == things_of(before)),
                    "change": rms(picture, before),
                    "evaluations": calls,
                    "seconds": seconds,
                }
            )
            shown[i].append(picture)
    return rows, shown


# What is told --------------------------------------------------------------------------------------------

Study = Callable[[Prior, int, Given], Made]
STUDIES: Mapping[str, tuple[Study, Sequence[str]]] = {
    "scale": (scale, ("right", "spread")),
    "words": (words, ("shape", "colour", "ground", "all")),
    "two": (two, ("both",)),
    "directions": (directions, ("night", "same", "change")),
}


def main(words_: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--n", type=int, default=16, help="pictures of every row")
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--given", action="append", default=[], help="as for `scumble edit`; repeats")
    parser.add_argument("--out", type=Path, help="a file for the rows, one JSON object a line")
    parser.add_argument("--sheet", type=Path, help="a PNG of the first four lines")
    asked = parser.parse_args(words_)
    run, figures = STUDIES[asked.study]
    known = given.read(dict(given.check_name(text) for text in asked.given))
    prior = scumble.load(asked.model, device="cpu", dtype="float32")
    rows, shown = run(prior, asked.n, known)
    cases = list(dict.fromkeys(row["case"] for row in rows))
    keep(asked, rows, shown[:4], ["picture", *cases][-len(shown[0]) :] if shown else [])
    print(table(rows, figures))
    for case in cases:
        print(f"{case}: {next(row['seconds'] for row in rows if row['case'] == case):.2f} s a picture")
    print(f"\nn = {len(shown)}, validation scenes, model {prior.card.id} {prior.card.hash[:12]}")
