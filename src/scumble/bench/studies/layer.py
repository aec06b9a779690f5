"""What the layer keeps and what it costs, on held-out scenes of the built-in world.

Edits of the test split, rendered at several sizes, go through a method once; the pairs of decodes (D0, D1) are cached,
so a run can be stopped and taken up again, and every `--keep` is judged on the same pairs. "codec" as a method is the
codec's own picture of the true edit: what a perfect editor would return.

    python -m scumble.bench.studies layer [--method dds] [--set steps=200] [--count 90] [--keep auto 0.05 0.1]
        [--cache DIR]
    python -m scumble.bench.studies layer --bench runs/test/dds.jsonl        the pictures that `scumble bench` has made

Done: at most a quarter of the source's squared error to the true edit is left inside the true mask. Preserved: PSNR to
the source outside the true mask (99 where exact). Leaked: the share of all squared change that fell outside. Exact: the
share of the pixels outside that are the input's, bit for bit.
Fails (exit 1) where "auto" loses more than a point of what is done, overall or on background and look edits, does not
raise preservation, or where an edit whose prompts are equal does not return the input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import scumble
from scumble.bench.rows import read_rows
from scumble.bench.statistics import interval
from scumble.core.atomic import atomic
from scumble.core.pixels import to_images
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.editing.plan import choose
from scumble.measuring.judge import Known, judge
from scumble.measuring.tasks import SEED
from scumble.methods import get
from scumble.pictures import reading
from scumble.pictures.canvas import Fit, to_canvas
from scumble.pictures.layer import Layer, lift, opaque
from scumble.scenes import KINDS, SceneEdit, edits, render

SIZES = ((128, 128), (200, 300), (512, 384), (300, 170))  # (width, height)
SQUARES = ((128, 128), (256, 256))  # of edits that a bench has made
GLOBAL = ("background", "look")
BATCH = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """An edit at a size, and where it lies on the canvas."""

    edit: SceneEdit
    size: tuple[int, int]
    fit: Fit

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.size[1], self.size[0]

    @property
    def picture(self) -> reading.Picture:
        return reading.read(Image.fromarray(render(self.edit.source, self.shape)))

    def on_canvas(self, pixels: np.ndarray) -> torch.Tensor:
        return to_canvas(reading.read(Image.fromarray(pixels)), self.fit)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """None where an edit leaves nothing outside its mask."""

    kind: str
    done: bool
    preserved: float | None
    leaked: float | None
    exact: float | None
    changed: float


def cases(prior: Prior, count: int, seed: int) -> list[Case]:
    kinds = [kind for kind in KINDS if kind != "noop"]
    drawn = zip(islice(edits("test", seed, kinds), count), cycle(SIZES), strict=False)
    return [
        Case(edit=edit, size=size, fit=Fit.of(size, prior.card.size, prior.card.multiple))
        for edit, size in drawn
    ]


@torch.no_grad()
def pairs(
    prior: Prior, some: Sequence[Case], method: str, settings: dict[str, object], cache: Path, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(D0, D1) of every case, from the cache or made in batches."""
    values = [f"{k}={v}" for k, v in sorted(settings.items())]
    dtype = prior.loaded.get("dtype", "float32")
    name = "-".join([method, *values, f"seed={seed}", prior.card.hash[:12], dtype])
    (cache / name).mkdir(parents=True, exist_ok=True)
    for first in range(0, len(some), BATCH):
        batch = some[first : first + BATCH]
        path = cache / name / f"{first}-{len(batch)}.npz"
        if not path.exists():
            before, after = run(prior, batch, method, settings, seed=first)
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.savez(file, before=before.half().cpu().numpy(), after=after.half().cpu().numpy())
        loaded = np.load(path)
        for before, after in zip(loaded["before"], loaded["after"], strict=True):
            yield torch.from_numpy(before)[None].float(), torch.from_numpy(after)[None].float()


@torch.no_grad()
def of_bench(prior: Prior, rows: Path) -> Iterator[tuple[Case, torch.Tensor, torch.Tensor]]:
    """The same of edits that a bench has made on the test split, by the method's own pictures that it kept."""
    changes = [row for row in read_rows(rows) if row["kind"] != "noop" and not row["refused"]]
    some = [row for row in changes if row["repeat"] == 0]
    made = {int(row["id"].rpartition("-")[2]): row for row in some}
    sizes = cycle(SQUARES)
    for i, edit in enumerate(islice(edits("test", SEED), max(made) + 1)):
        if i in made:
            size = next(sizes)
            case = Case(edit=edit, size=size, fit=Fit.of(size, prior.card.size, prior.card.multiple))
            before = prior.decode(prior.encode(case.on_canvas(render(edit.source, prior.card.size))))
            after = np.asarray(Image.open(rows.parent / made[i]["output"]).convert("RGB"))
            yield case, before, to_images([after])


def run(
    prior: Prior, batch: Sequence[Case], method: str, settings: dict[str, object], seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.cat([to_canvas(case.picture, case.fit) for case in batch])
    before = prior.decode(prior.encode(image))
    if method == "codec":
        true = torch.cat([case.on_canvas(render(case.edit.targets[0], case.shape)) for case in batch])
        return before, prior.decode(prior.encode(true))
    chosen, _ = choose(method, get(method), prior.card, settings)
    request = EditRequest(
        image=image,
        source=[case.edit.source_caption for case in batch],
        target=[case.edit.target_caption for case in batch],
        seed=seed,
    )
    return before, chosen(prior, request).raw


def judged(case: Case, layer: Layer) -> Scored:
    """At the picture's own size, against the nearest valid target."""
    known = Known.of(case.edit, case.shape)
    result = np.asarray(layer.over(case.picture.rgb))
    scores = judge(known, result, read=False)
    same = (result == known.source).all(2)
    untouched = ~np.logical_or.reduce(known.masks)
    return Scored(
        kind=case.edit.kind,
        done=bool(scores.done),
        preserved=scores.preserved,
        leaked=scores.leaked,
        exact=float(same[untouched].mean()) if untouched.any() else None,
        changed=layer.changed,
    )


def table(rows: dict[str, list[Scored]]) -> None:
    kinds = sorted({j.kind for row in rows.values() for j in row})
    print(
        "| keep | done | preserved, dB | leaked | exact | changed |" + "".join(f" {kind} |" for kind in kinds)
    )
    print("|---" * (6 + len(kinds)) + "|")
    for keep, row in rows.items():
        shares = [f"{100 * mean(j.done for j in row if j.kind == kind):.0f}" for kind in kinds]
        print(
            f"| {keep} | {100 * mean(j.done for j in row):.1f} % | {mean(j.preserved for j in row):.1f} "
            f"| {100 * mean(j.leaked for j in row):.1f} % "
            f"| {100 * mean(j.exact for j in row):.0f} % | {100 * mean(j.changed for j in row):.0f} % "
            f"| {' | '.join(shares)} |"
        )


def gains(rows: dict[str, list[Scored]]) -> None:
    """What every `--keep` gains on the method's own picture, edit by edit: the mean, its 95 % bootstrap interval, n."""
    for keep, row in list(rows.items())[1:]:
        pairs = list(zip(row, rows["none"], strict=True))
        done = [float(a.done) - float(b.done) for a, b in pairs]
        both = ((a.preserved, b.preserved) for a, b in pairs)
        preserved = [a - b for a, b in both if a is not None and b is not None]
        gains = (f"done {said(done, 100)} points", f"preserved {said(preserved)} dB")
        print(f"{keep} less none: {'; '.join(gains)}")


def said(values: Sequence[float], unit: float = 1) -> str:
    found = interval(unit * np.array(values))
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f}, n = {found.n})"


def mean(values: Iterable[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def gates(rows: dict[str, list[Scored]]) -> list[str]:
    """What "auto" costs against "none", in words, where it costs too much."""
    none, auto = rows["none"], rows["auto"]
    failed: list[str] = []
    for name, kinds in (("done", KINDS), ("done on background and look edits", GLOBAL)):
        raw, kept = (mean(j.done for j in row if j.kind in kinds) for row in (none, auto))
        if kept < raw - 0.01:
            failed.append(f"{name} falls from {100 * raw:.1f} % to {100 * kept:.1f} %")
    raw, kept = (mean(j.preserved for j in row) for row in (none, auto))
    if kept <= raw:
        failed.append(f"preservation does not rise: {raw:.1f} dB, {kept:.1f} dB")
    return failed


def same(prior: Prior, some: Sequence[Case]) -> list[str]:
    """Names the sizes at which an edit that changes nothing does not return the input bit for bit."""
    failed: list[str] = []
    for case in some[: len(SIZES)]:
        words = case.edit.source_caption
        edit = scumble.edit(
            case.picture, source=words, target=words, model=prior, settings={"steps": 3}, keep="auto"
        )
        if edit.picture is None or edit.picture.tobytes() != case.picture.rgb.tobytes():
            failed.append(f"source = target changes the picture at {case.size}")
    return failed


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="dds", help='a method\'s name, or "codec"')
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="the method's parameters")
    parser.add_argument("--count", type=int, default=90)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--dtype", default="auto", help="of the network's calls")
    parser.add_argument("--keep", nargs="+", default=["auto", "0.05", "0.1", "0.2"])
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/layer"), help="a folder for the decoded pairs"
    )
    parser.add_argument("--bench", type=Path, metavar="ROWS", help="judge what a bench has made instead")
    args = parser.parse_args(words)

    prior = scumble.load(args.model, dtype=args.dtype)
    settings = {name: json.loads(value) for name, value in (pair.split("=") for pair in args.set)}
    some = cases(prior, args.count, args.seed)
    rows: dict[str, list[Scored]] = {keep: [] for keep in dict.fromkeys(["none", *args.keep])}
    if args.bench:
        made = of_bench(prior, args.bench)
    else:
        both = pairs(prior, some, args.method, settings, args.cache, args.seed)
        made = ((case, *pair) for case, pair in zip(some, both, strict=True))
    for case, before, after in made:
        for keep, row in rows.items():
            row.append(judged(case, lifted(keep, case, before, after)))
    table(rows)
    gains(rows)
    failed = same(prior, some) + (gates(rows) if "auto" in rows else [])
    print("\n".join(failed) or "all gates hold")
    sys.exit(bool(failed))


def lifted(keep: str, case: Case, before: torch.Tensor, after: torch.Tensor) -> Layer:
    if keep == "none":
        return opaque(after, case.fit)
    return lift(before, after, case.picture, case.fit, "auto" if keep == "auto" else float(keep))
