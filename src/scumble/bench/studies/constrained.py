"""What sampling under a constraint does: ILVR's N, RePaint's resampling, and the background that must stay.

    python -m scumble.bench.studies constrained ilvr|seam|background [--n 8] [--out FILE] [--sheet PNG]

On validation scenes of one object, with the built-in model.

ilvr: the scene is the reference, its caption the target. Low: the root mean square distance to the reference of the
means over blocks of 32 px, in levels of 255; high: that of what is left. The last row has no reference.
seam: the right half of the object's box is drawn anew, towards a caption that names its shape alone: size and colours
can only come from the half that is known. Seam: the mean difference, in levels of 255, of two pixels 8 apart that lie
on the two sides of the mask's boundary, where the picture itself has none (below 8), less the same of the codec's own
picture. Read: the share of pictures that
still read as the scene, by the parser of the scenes world. The last row resamples nothing, and spends as many
evaluations on more levels.
background: an edit of the scene's colour, inside its true mask. Exact: the share of the pixels outside that are the
input's, bit for bit; raw: PSNR to the input outside, in dB, of what the method itself decodes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import scumble
from scumble.bench.statistics import interval
from scumble.core.atomic import atomic
from scumble.core.pixels import Pixels, psnr, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.editing import given
from scumble.editing.plan import choose
from scumble.loops.lowpass import low_pass
from scumble.methods import get
from scumble.pictures import sheets, writing
from scumble.scenes import Scene, edits, full_caption, mistakes, read_picture, render, scenes

SIDE = 128
BLOCK = 32  # px; the low frequencies of the study, whatever N is
FLAT = 8  # levels of 255; less is no edge
CELL = 8  # px of the latent's cells, on which the masks lie, and across which a seam is looked for

Row = Mapping[str, Any]
Settings = dict[str, object]
ILVR: Mapping[str, Settings] = {
    **{f"N = {n}": {"factor": n} for n in (8, 16, 32, 64, 128)},
    "N = 32, stop = 0.5": {"factor": 32, "stop": 0.5},
    "N = 32, box": {"factor": 32, "low_pass": "box"},
    "no reference": {"stop": 1.0},
}
REPAINT: Mapping[str, Settings] = {
    "no resampling, 20 levels": {"steps": 20, "jump_samples": 1},
    "each 5 levels 3 times": {"steps": 20, "jump_length": 5, "jump_samples": 3},
    "each 5 levels 5 times": {"steps": 20, "jump_length": 5, "jump_samples": 5},
    "no resampling, 80 levels": {"steps": 80, "jump_samples": 1},
}
MASKED: Mapping[str, tuple[str, Settings]] = {
    "sdedit": ("sdedit", {"steps": 25, "strength": 0.8}),
    "repaint": ("repaint", {"steps": 20, "jump_length": 5, "jump_samples": 2}),
    "ilvr, with a mask": ("ilvr", {"steps": 25}),
    "blended_latent_diffusion": ("blended_latent_diffusion", {"steps": 25}),
    "the same, fit=latent": ("blended_latent_diffusion", {"steps": 25, "fit": "latent"}),
    "the same, fit=decoder": ("blended_latent_diffusion", {"steps": 25, "fit": "decoder"}),
    "blended_diffusion": ("blended_diffusion", {"steps": 25}),
    "dds_fast": ("dds_fast", {}),
}


def made(prior: Prior, name: str, settings: Settings, request: EditRequest) -> tuple[list[Pixels], int]:
    """A method's own pictures with the values that the card recommends, and its evaluations."""
    method, _ = choose(name, get(name), prior.card, settings)
    edit = method(prior, request)
    return list(to_pixels(edit.raw)), edit.evaluations


# ILVR's N ------------------------------------------------------------------------------------------------


def ilvr(prior: Prior, n: int) -> tuple[list[Row], list[list[Pixels]]]:
    """A row of every scene under every N, and the pictures, a line per scene."""
    drawn = list(islice(scenes("validation", 21, 1), n))
    true = [render(scene, SIDE) for scene in drawn]
    request = EditRequest(
        image=to_images(true), reference=to_images(true), target=[full_caption(s) for s in drawn], seed=1
    )
    rows: list[Row] = []
    shown: list[list[Pixels]] = [[picture] for picture in true]
    for label, settings in ILVR.items():
        pictures, calls = made(prior, "ilvr", {"steps": 25, **settings}, request)
        for i, (picture, reference) in enumerate(zip(pictures, true, strict=True)):
            low, high = distances(picture, reference)
            rows.append({"case": label, "id": i, "low": low, "high": high, "evaluations": calls})
            shown[i].append(picture)
    return rows, shown


def distances(a: Pixels, b: Pixels) -> tuple[float, float]:
    """(low, high): how far apart two pictures are in the means of blocks, and in the rest; in levels of 255."""
    off = torch.from_numpy(a.astype(np.float64) - b).permute(2, 0, 1)[None]
    low = low_pass(off, BLOCK, "box")
    return float(low.square().mean().sqrt()), float((off - low).square().mean().sqrt())


# RePaint's resampling ------------------------------------------------------------------------------------


def seam(prior: Prior, n: int) -> tuple[list[Row], list[list[Pixels]]]:
    """A row of every scene under every schedule of jumps, and the pictures, a line per scene."""
    large = (s for s in scenes("validation", 22, 1) if s.things[0].size == "large" and s.look == "day")
    drawn = list(islice(large, n))
    true = [render(scene, SIDE) for scene in drawn]
    masks = [right_half(scene) for scene in drawn]
    request = EditRequest(
        image=to_images(true),
        mask=torch.from_numpy(np.stack(masks)).float()[:, None],
        target=[f"a {s.things[0].shape} on a {s.background} background" for s in drawn],
        seed=1,
    )
    codec = to_pixels(prior.decode(prior.encode(to_images(true))))
    rows: list[Row] = []
    shown = [[picture, covered(picture, mask)] for picture, mask in zip(true, masks, strict=True)]
    for label, settings in REPAINT.items():
        pictures, calls = made(prior, "repaint", settings, request)
        for i, picture in enumerate(pictures):
            step = across(picture, true[i], masks[i]) - across(codec[i], true[i], masks[i])
            right = not mistakes(drawn[i], read_picture(picture).scene)
            rows.append({"case": label, "id": i, "seam": step, "read": float(right), "evaluations": calls})
            shown[i].append(picture)
    return rows, shown


def right_half(scene: Scene) -> NDArray[np.bool_]:
    """The right half of the object's box, and the free space to the right of it."""
    thing = scene.things[0]
    (x, y), reach = thing.centre(), thing.reach + 0.06
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    top, bottom, left, right = (CELL * round(SIDE * at / CELL) for at in (y - reach, y + reach, x, x + reach))
    mask[max(top, 0) : bottom, left:right] = True
    return mask


def covered(picture: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    return np.where(mask[..., None], np.uint8(224), picture)


def across(picture: Pixels, true: Pixels, mask: NDArray[np.bool_]) -> float:
    """The mean difference of pixels a cell apart on the two sides of the mask, where the true picture has none."""
    steps: list[NDArray[np.float64]] = []
    for axis in (0, 1):
        ours, theirs = (apart(p.astype(np.float64), axis).mean(2) for p in (picture, true))
        meets = apart(mask.astype(np.float64), axis) > 0
        steps.append(ours[meets & (theirs < FLAT)])
    return float(np.concatenate(steps).mean())


def apart(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """How much values a cell apart differ, along an axis."""
    near, far = (np.take(values, range(*ends), axis) for ends in ((SIDE - CELL,), (CELL, SIDE)))
    return np.abs(far - near)


# The background ------------------------------------------------------------------------------------------


def background(prior: Prior, n: int) -> tuple[list[Row], list[list[Pixels]]]:
    """A row of every edit under every masked method, and the pictures, a line per edit."""
    rows: list[Row] = []
    shown: list[list[Pixels]] = []
    for i, edit in enumerate(islice(edits("validation", 23, ("recolour",)), n)):
        source, mask = edit.pictures(SIDE)[0], edit.hard_mask(SIDE)
        line = [source]
        for label, (name, settings) in MASKED.items():
            picture = Image.fromarray(source)
            method, _ = choose(name, get(name), prior.card, settings)
            result = scumble.edit(
                picture,
                source=edit.source_caption,
                target=edit.target_caption,
                method=method,
                model=prior,
                mask=mask * np.uint8(255),
                reference=picture if method.needs.reference else None,
                given=given.read(dict.fromkeys(method.needs.given, "scenes")),
                crop="none",
                keep="none",
            )
            assert result.picture is not None
            ours, outside = np.asarray(result.picture), ~mask
            raw = to_pixels(result.raw)[0]
            rows.append(
                {
                    "case": label,
                    "id": i,
                    "exact": float((ours == source).all(2)[outside].mean()),
                    "raw": psnr(raw[outside], source[outside]),
                    "evaluations": result.evaluations,
                }
            )
            line.append(ours)
        shown.append(line)
    return rows, shown


# What is told --------------------------------------------------------------------------------------------

STUDIES: Mapping[str, tuple[Callable[[Prior, int], tuple[list[Row], list[list[Pixels]]]], Sequence[str]]] = {
    "ilvr": (ilvr, ("low", "high")),
    "seam": (seam, ("seam", "read")),
    "background": (background, ("exact", "raw")),
}
HEADS: Mapping[str, Sequence[str]] = {
    "ilvr": ("reference", *ILVR),
    "seam": ("picture", "what is known", *REPAINT),
    "background": ("picture", *MASKED),
}


def table(rows: Sequence[Row], figures: Sequence[str]) -> str:
    """The mean of every figure with its 95 % bootstrap interval, in Markdown."""
    lines = [f"| | {' | '.join(figures)} | evaluations |", "|---|" + "--:|" * (len(figures) + 1)]
    for case in dict.fromkeys(row["case"] for row in rows):
        some = [row for row in rows if row["case"] == case]
        told = [said(row[figure] for row in some) for figure in figures]
        lines.append(f"| {case} | {' | '.join(told)} | {some[0]['evaluations']} |")
    return "\n".join(lines)


def said(values: Iterable[float]) -> str:
    found = interval(np.array(list(values)))
    return f"{found.mean:.3g} ({found.low:.3g} to {found.high:.3g})"


def keep(
    asked: argparse.Namespace, rows: Sequence[Row], shown: Sequence[Sequence[Pixels]], heads: Sequence[str]
) -> None:
    """Write what a study made: its rows into `asked.out`, its pictures under their heads into `asked.sheet`."""
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(asked.out) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if asked.sheet:
        cells = [
            sheets.Cell(Image.fromarray(picture), [head])
            for line in shown
            for picture, head in zip(line, heads, strict=True)
        ]
        writing.save(sheets.sheet(cells, columns=len(heads)), asked.sheet)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--n", type=int, default=8, help="scenes")
    parser.add_argument("--out", type=Path, help="a file for the rows, one JSON object a line")
    parser.add_argument("--sheet", type=Path, help="a PNG of the first three scenes")
    asked = parser.parse_args(words)
    run, figures = STUDIES[asked.study]
    started = time.perf_counter()
    prior = scumble.load("scenes", device="cpu")
    rows, shown = run(prior, asked.n)
    keep(asked, rows, shown[:3], HEADS[asked.study])
    print(table(rows, figures))
    seconds = time.perf_counter() - started
    print(f"\n{asked.n} validation scenes, built-in model {prior.card.hash[:12]}, {seconds:.0f} s")
