"""How well each kind of inversion returns its picture, over steps and guidance, on the built-in model.

Every picture is inverted with its own caption and sampled again with the same caption; the error is that of the
latent, against which the codec's own error does not count. A row is one picture under one kind; rows are kept
in a file, and a run goes on where the last one stopped.

    python benchmarks/inversion.py [--pictures 50] [--steps 10,20,50] [--guidance 1,3,7.5] [--out FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

import scumble
from scumble.core.job import Job
from scumble.core.prior import Prior, guide, guide_branches
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
    "null_text": lambda steps, w: NullTextInverter(steps=steps, guidance=w),
    "edit_friendly": lambda steps, w: EditFriendlyInverter(steps=steps, guidance=w),
    "direct": lambda steps, w: DirectInverter(steps=steps),
    "direct, stored differences": lambda steps, w: DirectInverter(steps=steps, guidance=w, explicit=True),
}


@torch.no_grad()
def measure(prior: Prior, picture: Any, caption: str, inverter: Inverter, w: float) -> dict[str, float]:
    """The picture inverted and sampled again, where there is one on the branch of the source: its error (the root
    mean square over the latent, in units of the latent's spread), seconds, evaluations.
    """
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    job = Job(DDIMInversion(), prior, EditRequest(image=image, source=caption, target=caption), None)
    started = time.perf_counter()
    inversion, _ = begin(job, inverter, guidance=w, then=1)
    text, null = job.text([caption]), inversion.null(job.text([""]))
    if inversion.forced or inversion.offsets is not None:
        texts = {"source": text, "target": text}
        denoise = guide_branches(job.prior, texts, dict.fromkeys(texts, null), w)
        x = replay(inversion, denoise, prior.schedule, 1, 1)[:1]
    else:
        x = replay(inversion, guide(job.prior, text, null, w), prior.schedule, 1)
    z = inversion.trajectory[-1]
    error = float((x - z).square().mean().sqrt() / z.std())
    return {"error": error, "seconds": time.perf_counter() - started, "evaluations": job.evaluations}


def rows(out: Path) -> list[dict[str, Any]]:
    """What has been measured before."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def run(out: Path, pictures: int, steps: Iterable[int], guidance: Iterable[float]) -> None:
    prior = scumble.load("scenes", device="cpu")
    done = {(r["picture"], r["kind"], r["steps"], r["guidance"]) for r in rows(out)}
    scenes = list(itertools.islice(edits("test"), pictures))
    for i, kind, n, w in itertools.product(range(len(scenes)), CONTESTANTS, steps, guidance):
        # Without guidance nothing is tuned, and inverting with it is no contestant of its own.
        if (i, kind, n, w) in done or (w == 1 and kind in ("null_text", "ddim, inverted with guidance")):
            continue
        told = measure(
            prior,
            render(scenes[i].source, prior.card.size),
            scenes[i].source_caption,
            CONTESTANTS[kind](n, w),
            w,
        )
        with out.open("a") as file:
            file.write(json.dumps({"picture": i, "kind": kind, "steps": n, "guidance": w, **told}) + "\n")


def table(found: Iterable[Mapping[str, Any]]) -> str:
    """Median error, seconds and evaluations of every kind, by steps and guidance, in Markdown."""
    groups: dict[tuple[str, int, float], list[Mapping[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["kind"], row["steps"], row["guidance"]].append(row)
    lines = [
        "| kind | steps | guidance | error | seconds | evaluations | pictures |",
        "|---|---|---|---|---|---|---|",
    ]
    for (kind, n, w), group in sorted(groups.items(), key=lambda item: (*item[0][1:], item[0][0])):
        error, seconds, evaluations = (
            statistics.median(r[key] for r in group) for key in ("error", "seconds", "evaluations")
        )
        lines.append(
            f"| {kind} | {n} | {w:g} | {error:.2g} | {seconds:.1f} | {evaluations:g} | {len(group)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--steps", default="10,20,50")
    parser.add_argument("--guidance", default="1,3,7.5")
    parser.add_argument("--out", type=Path, default=Path("runs/inversion.jsonl"))
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    steps, guidance = map(int, asked.steps.split(",")), list(map(float, asked.guidance.split(",")))
    run(asked.out, asked.pictures, list(steps), guidance)
    print(table(rows(asked.out)))


if __name__ == "__main__":
    main()
