"""How well each kind of inversion returns its picture, over steps and guidance, on the built-in model.

Every picture is inverted with its own caption and sampled again with the same caption; the error is that of the
latent, against which the codec's own error does not count, and that of the decoded picture against the codec's.
A row is one picture under one kind; rows are kept in a file, and a run goes on where the last one stopped.

    python -m scumble.bench.studies inversion [--pictures 12] [--steps 10,20,50] [--guidance 1,3,7.5] [--kinds ..]
        [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import scumble
from scumble.core.guidance import guide, guide_branches
from scumble.core.job import Job
from scumble.core.pixels import Pixels, psnr, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.inversions import (
    DDIMInverter,
    DirectInverter,
    EditFriendlyInverter,
    Inverter,
    NPIInverter,
    NullTextInverter,
    RegularisedInverter,
    begin,
    replay,
)
from scumble.methods.ddim_inversion import DDIMInversion
from scumble.scenes import edits, render

CONTESTANTS: Mapping[str, Callable[[int, float], Inverter]] = {
    "ddim": lambda steps, w: DDIMInverter(steps=steps),
    "ddim, told source": lambda steps, w: DDIMInverter(steps=steps, told="source"),
    "ddim, refined 3 times": lambda steps, w: DDIMInverter(steps=steps, refine=3),
    "ddim, inverted with guidance": lambda steps, w: DDIMInverter(steps=steps, guidance=w),
    "regularised": lambda steps, w: RegularisedInverter(steps=steps),
    "npi": lambda steps, w: NPIInverter(steps=steps),
    "npi, told source": lambda steps, w: NPIInverter(steps=steps, told="source"),
    "null_text": lambda steps, w: NullTextInverter(steps=steps, guidance=w),
    "null_text, told source": lambda steps, w: NullTextInverter(steps=steps, guidance=w, told="source"),
    "edit_friendly": lambda steps, w: EditFriendlyInverter(steps=steps, guidance=w),
    "direct": lambda steps, w: DirectInverter(steps=steps),
    "direct, stored differences": lambda steps, w: DirectInverter(steps=steps, guidance=w, explicit=True),
}


BATCH = 12


@torch.no_grad()
def measure(
    prior: Prior, pictures: Sequence[Pixels], captions: Sequence[str], inverter: Inverter, w: float
) -> list[dict[str, float]]:
    """The pictures inverted and sampled again, where there is one on the branch of the source. Of each: its error (the
    root mean square over the latent, in units of the latent's spread), its PSNR to the codec's picture, and the
    batch's seconds and evaluations per picture.
    """
    image, n = to_images(pictures), len(pictures)
    job = Job(DDIMInversion(), prior, EditRequest(image=image, source=captions, target=captions), None)
    started = time.process_time()
    inversion, _ = begin(job, inverter, guidance=w, then=1)
    text, null = job.text(captions), inversion.null(job.text([""]))
    if inversion.forced or inversion.offsets is not None:
        texts = {"source": text, "target": text}
        denoise = guide_branches(job.prior, texts, dict.fromkeys(texts, null), w)
        x = replay(inversion, denoise, prior.schedule, n, n)[:n]
    else:
        x = replay(inversion, guide(job.prior, text, null, w), prior.schedule, n)
    seconds = (time.process_time() - started) / n
    z = inversion.trajectory[-1]
    errors = ((x - z).square().mean((1, 2, 3)).sqrt() / z.std((1, 2, 3))).tolist()
    ours, theirs = (prior.decode(latent) for latent in (x, z))
    pairs = zip(ours, theirs, strict=True)
    decibels = [psnr(to_pixels(a[None]), to_pixels(b[None])) for a, b in pairs]
    shared = {"seconds": seconds, "evaluations": job.evaluations}
    return [{"error": e, "psnr": d, **shared} for e, d in zip(errors, decibels, strict=True)]


def rows(out: Path) -> list[dict[str, Any]]:
    """What has been measured before."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def run(
    out: Path, pictures: int, kinds: Iterable[str], steps: Iterable[int], guidance: Iterable[float]
) -> None:
    prior = scumble.load("scenes", device="cpu")
    done = {(r["picture"], r["kind"], r["steps"], r["guidance"]) for r in rows(out)}
    scenes = list(itertools.islice(edits("test"), pictures))
    for n, w, kind in itertools.product(steps, guidance, kinds):
        # Without guidance nothing is tuned, and inverting with it is no contestant of its own.
        if w == 1 and ("null_text" in kind or kind == "ddim, inverted with guidance"):
            continue
        todo = [i for i in range(len(scenes)) if (i, kind, n, w) not in done]
        for few in (todo[k : k + BATCH] for k in range(0, len(todo), BATCH)):
            shown = [render(scenes[i].source, prior.card.size) for i in few]
            captions = [scenes[i].source_caption for i in few]
            measured = measure(prior, shown, captions, CONTESTANTS[kind](n, w), w)
            named = [
                {"picture": i, "kind": kind, "steps": n, "guidance": w, **one}
                for i, one in zip(few, measured, strict=True)
            ]
            with out.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in named)


def table(found: Iterable[Mapping[str, Any]], show: Callable[[Sequence[Mapping[str, Any]]], str]) -> str:
    """What `show` says of every kind's rows, by steps and guidance, in Markdown."""
    groups: dict[tuple[str, int, float], list[Mapping[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["kind"], row["steps"], row["guidance"]].append(row)
    columns = sorted({(steps, w) for _, steps, w in groups})
    lines = [
        "| kind | " + " | ".join(f"{steps} steps, w {w:g}" for steps, w in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for kind in [name for name in CONTESTANTS if any(key[0] == name for key in groups)]:
        cells = [show(groups[kind, *column]) if (kind, *column) in groups else "" for column in columns]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def error(group: Sequence[Mapping[str, Any]]) -> str:
    """Mean and standard deviation."""
    values = [row["error"] for row in group]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2g} ± {spread:.1g}" if max(values) > 1e-5 else "0"


def decibels(group: Sequence[Mapping[str, Any]]) -> str:
    values = [row["psnr"] for row in group]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {spread:.1f}"


def cost(group: Sequence[Mapping[str, Any]]) -> str:
    """Evaluations and seconds, per picture."""
    n, seconds = (statistics.mean(row[key] for row in group) for key in ("evaluations", "seconds"))
    return f"{n:.0f}, {seconds:.1f} s"


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--kinds", default="", help="some of them, by name, separated by ';'")
    parser.add_argument("--steps", default="10,20,50")
    parser.add_argument("--guidance", default="1,3,7.5")
    parser.add_argument("--out", type=Path, default=Path("runs/inversion.jsonl"))
    asked = parser.parse_args(words)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    steps, guidance = map(int, asked.steps.split(",")), list(map(float, asked.guidance.split(",")))
    run(
        asked.out,
        asked.pictures,
        asked.kinds.split(";") if asked.kinds else CONTESTANTS,
        list(steps),
        guidance,
    )
    found = rows(asked.out)
    print(*(table(found, show) for show in (error, decibels, cost)), sep="\n\n")
    print(f"\n{len({row['picture'] for row in found})} pictures at most; codec apart")
