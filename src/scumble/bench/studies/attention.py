"""What inversions and attention are worth on the scenes bench: the test split, the built-in model.

Every row is a method on the same edits, with the guidance that the model's card recommends for editors (3). It says
what a bench row says, and besides: whether every object stands where the true edit has one (`layout`), how far the
mask that the method made overlaps the true one (`iou`), and how far the whole picture would (`whole`), which is what
chance reaches. Rows are kept in a file, and a run goes on where the last one stopped.

    python -m scumble.bench.studies attention [--n 100] [--dear 30] [--rows NAME,...] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import scumble
from scumble.bench.contestants import Contestant, make_ready
from scumble.bench.rows import TableRow
from scumble.bench.statistics import Estimate, interval
from scumble.bench.tables import Column, Table, markdown
from scumble.core.pixels import Pixels, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.measuring.judge import Known, judge
from scumble.measuring.tasks import SEED
from scumble.pictures import sheets
from scumble.scenes import KINDS, SceneEdit, edits, read_picture

COMMON: Mapping[str, object] = {"steps": 20, "guidance": 3.0}
ROWS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "copy": ("copy", {}),
    "ceiling": ("ceiling", {}),
    "resample": ("resample", COMMON),
    "ddim_inversion": ("ddim_inversion", COMMON),
    "npi": ("npi", COMMON),
    "null_text": ("null_text", COMMON),
    "direct_inversion": ("direct_inversion", COMMON),
    "p2p, ddim": ("p2p", {**COMMON, "inversion": "ddim"}),
    "p2p, null_text": ("p2p", {**COMMON, "inversion": "null_text"}),
    "p2p, direct": ("p2p", COMMON),
    "p2p, direct, blend": ("p2p", COMMON),
    "diffedit": ("diffedit", COMMON),
    "masactrl": ("masactrl", COMMON),
    "plug_and_play": ("plug_and_play", COMMON),
    "pix2pix_zero": ("pix2pix_zero", COMMON),
}
DEAR = frozenset({"null_text", "p2p, null_text", "pix2pix_zero"})
ONE_THING = ("recolour", "reshape", "retexture", "resize")
"""The kinds whose object has one word in each caption, so that a blend can name its place."""

LOCAL = (*ONE_THING, "move", "add", "remove")
STILL = (*ONE_THING, "background", "look")
BATCH = 16
SHOWN = 9  # edits whose pictures are kept
SHEET = (0, 1, 2, 7)  # edits of the contact sheet: another colour, shape, texture, background
COLUMNS = (
    Column("preserved", "preserved, dB", 1, 1),
    Column("layout", "layout kept, %", 100, 0),
    Column("done", "done, %", 100, 0),
    Column("joint", "joint, %", 100, 0),
    Column("iou", "mask IoU", 1, 2),
    Column("evaluations", "evaluations", 1, 0),
    Column("seconds", "seconds", 1, 2),
)


def batches(label: str, found: Sequence[SceneEdit]) -> Iterator[list[tuple[int, SceneEdit]]]:
    """Edits that one request can hold, with their numbers: for a blend those whose words are the same."""
    numbered = list(enumerate(found))
    if label.endswith("blend"):
        chosen = [(i, edit) for i, edit in numbered if words(edit)]
        chosen.sort(key=lambda pair: words(pair[1]))
        for _, some in groupby(chosen, lambda pair: words(pair[1])):
            yield list(some)
        return
    for i in range(0, len(numbered), BATCH):
        yield numbered[i : i + BATCH]


def words(edit: SceneEdit) -> str:
    """Where an edit of one object is, for a blend: "star | circle"; nothing where words do not say it."""
    if edit.kind not in ONE_THING:
        return ""
    before, after = set(edit.source.things), set(edit.targets[0].things)
    old, new = (before - after).pop().shape, (after - before).pop().shape
    others = {thing.shape for thing in before & after}
    return "" if others & {old, new} else f"{old} | {new}"


def make(prior: Prior, label: str, some: Sequence[tuple[int, SceneEdit]], folder: Path) -> Iterator[TableRow]:
    """Edits a batch, and scores every edit of it."""
    name, settings = ROWS[label]
    if label.endswith("blend"):
        settings = {**settings, "blend": words(some[0][1])}
    method = make_ready(Contestant(label=label, name=name, settings=settings), prior.card).method
    knowns = [Known.of(edit, prior.card.size) for _, edit in some]
    image = to_images([known.source for known in knowns])
    request = EditRequest(
        image=image,
        source=[edit.source_caption for _, edit in some],
        target=[edit.target_caption for _, edit in some],
        reference=to_images([known.truths[0] for known in knowns]),
    )
    started = time.process_time()
    made = method(prior, request)
    seconds = (time.process_time() - started) / len(some)
    with torch.no_grad():
        codecs = prior.decode(prior.encode(image))
    for k, (i, edit) in enumerate(some):
        result, codec = (to_pixels(x[k]) for x in (made.raw, codecs))
        if i < SHOWN or edit.kind in ONE_THING[:2]:
            Image.fromarray(result).save(folder / f"{label}-{i:04}.png")
        judged = judge(knowns[k], result, codec)
        masks = made.maps.get("mask", made.maps.get("blend"))
        overlap = {} if masks is None else overlaps(masks[k, 0].cpu().numpy() > 0.5, knowns[k].masks)
        scores = {
            **asdict(judged),
            "done": judged.done,
            "joint": judged.joint,
            "layout": layout(edit, result),
        }
        yield {"row": label, "i": i, "kind": edit.kind, **scores, **overlap,
               "evaluations": made.evaluations, "seconds": seconds}  # fmt: skip


def layout(edit: SceneEdit, result: Pixels) -> bool:
    """Whether the objects of the result stand at the places of a right answer, whatever they are."""
    seen = read_picture(result).scene
    places = sorted(thing.place for thing in seen.things) if seen else []
    return any(places == sorted(thing.place for thing in scene.things) for scene in edit.targets)


def overlaps(found: NDArray[np.bool_], truths: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Intersection over union with the best of the true masks: of the mask found, and of everything."""
    side = truths[0].shape[0] // found.shape[0]
    large = np.kron(found, np.ones((side, side), bool))
    best = max(truths, key=lambda truth: (large & truth).sum() / (large | truth).sum() if truth.any() else 0)
    union = (large | best).sum()
    return {"iou": float((large & best).sum() / union) if union else 1.0, "whole": float(best.mean())}


def run(out: Path, labels: Sequence[str], n: int, dear: int) -> None:
    """Makes what is not in the file yet."""
    prior, path = scumble.load("scenes", device="cpu"), out / "rows.jsonl"
    drawn = list(islice(edits("test", SEED), max(n, dear)))
    for label in labels:
        done = {(row["row"], row["i"]) for row in rows(path)}
        for batch in batches(label, drawn[: dear if label in DEAR else n]):
            some = [(i, edit) for i, edit in batch if (label, i) not in done and edit.kind != "noop"]
            for few in (some[k : k + BATCH] for k in range(0, len(some), BATCH)):
                try:
                    measured = list(make(prior, label, few, out))
                except scumble.InputError:  # one picture of the batch has no mask: each alone
                    measured = [row for one in few for row in alone(prior, label, one, out)]
                with path.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in measured)


def alone(prior: Prior, label: str, one: tuple[int, SceneEdit], folder: Path) -> list[TableRow]:
    """One edit, or a row that says why it was refused."""
    try:
        return list(make(prior, label, [one], folder))
    except scumble.InputError as error:
        return [{"row": label, "i": one[0], "kind": one[1].kind, "refused": str(error)}]


def rows(path: Path) -> list[TableRow]:
    """What has been made before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def mean(some: Sequence[TableRow], key: str) -> Estimate | None:
    values = np.array([row[key] for row in some if row.get(key) is not None], float)
    return interval(values) if len(values) else None


def table(
    title: str, found: Sequence[TableRow], labels: Iterable[str], kinds: Sequence[str] = KINDS
) -> Table:
    """The means of every row over the edits of some kinds."""
    chosen = {name: [r for r in found if r["row"] == name and r["kind"] in kinds] for name in labels}
    lines = [(name, [mean(some, c.key) for c in COLUMNS]) for name, some in chosen.items() if some]
    return Table(title, COLUMNS, lines)


def paired(
    title: str, found: Sequence[TableRow], one: str, other: str, kinds: Sequence[str] = KINDS
) -> Table:
    """Two rows on the edits that both have, and their difference edit by edit."""
    a, b = ({r["i"]: r for r in found if r["row"] == name and r["kind"] in kinds} for name in (one, other))
    both = sorted(a.keys() & b.keys())
    apart = [
        {c.key: b[i][c.key] - a[i][c.key] for c in COLUMNS if None not in (a[i].get(c.key), b[i].get(c.key))}
        for i in both
    ]
    named = {one: [a[i] for i in both], other: [b[i] for i in both], "difference": apart}
    lines = [(name, [mean(some, c.key) for c in COLUMNS]) for name, some in named.items()]
    return Table(title, COLUMNS, lines if both else [])


def spread(found: Sequence[TableRow], kinds: Sequence[str]) -> str:
    """How the overlaps of DiffEdit's masks are spread, in words."""
    some = [r for r in found if r["row"] == "diffedit" and r["kind"] in kinds and "iou" in r]
    if len(some) < 2:
        return ""
    iou, whole = (np.array([r[key] for r in some]) for key in ("iou", "whole"))
    refused = sum("refused" in r for r in found if r["row"] == "diffedit" and r["kind"] in kinds)
    low, half, high = np.quantile(iou, (0.25, 0.5, 0.75))
    return (
        f"DiffEdit's masks ({', '.join(kinds)}; n = {len(some)}, {refused} refused): IoU {iou.mean():.2f}, standard "
        f"deviation {iou.std(ddof=1):.2f}, quartiles {low:.2f} {half:.2f} {high:.2f}; the whole picture for a mask: "
        f"{whole.mean():.2f}; above that in {np.mean(iou > whole):.0%}"
    )


def sheet(out: Path, found: Sequence[TableRow]) -> Image.Image:
    """A few edits: source, true edit, and what every row made of it."""
    by_row = {(row["row"], row["i"]): row for row in found}
    labels = [name for name in ROWS if name not in ("copy", "ceiling") and (name, SHEET[0]) in by_row]
    drawn, cells = list(islice(edits("test", SEED), SHOWN)), list[sheets.Cell]()
    for i in SHEET:
        known = Known.of(drawn[i], 128)
        cells.append(sheets.Cell(Image.fromarray(known.source), [f"source ({drawn[i].kind})"]))
        cells.append(sheets.Cell(Image.fromarray(known.truths[0]), ["true edit"]))
        for name in labels:
            row, path = by_row.get((name, i)), out / f"{name}-{i:04}.png"
            if row is None or not path.exists():
                cells.append(sheets.blank())
                continue
            kept = "" if row["preserved"] is None else f"kept {row['preserved']:.1f} dB"
            cells.append(sheets.Cell(Image.open(path), [name, kept], bool(row["joint"])))
    return sheets.sheet(cells, columns=2 + len(labels), note="Framed: found, done and kept (docs/bench.md).")


def report(out: Path) -> str:
    """All tables as Markdown."""
    found = rows(out / "rows.jsonl")
    dear = {row["i"] for row in found if row["row"] in DEAR}
    tables = [
        table("All edits but no-ops", found, ROWS),
        table("Edits after which everything stands where it stood", found, ROWS, STILL),
        table("The edits of the dear rows", [row for row in found if row["i"] in dear], ROWS),
        paired("P2P against resampling", found, "resample", "p2p, direct", STILL),
        paired("LocalBlend, on edits of one object", found, "p2p, direct", "p2p, direct, blend"),
    ]
    notes = [spread(found, kinds) for kinds in (LOCAL, *((kind,) for kind in (*LOCAL, "background")))]
    return markdown([t for t in tables if t.rows], [note for note in notes if note])


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--dear", type=int, default=30, help="edits for null_text and pix2pix_zero")
    parser.add_argument("--rows", default="", help="some of them, by name, separated by ';'")
    parser.add_argument("--out", type=Path, default=Path("runs/attention"))
    asked = parser.parse_args(words)
    asked.out.mkdir(parents=True, exist_ok=True)
    labels = asked.rows.split(";") if asked.rows else list(ROWS)
    if asked.n:
        run(asked.out, labels, asked.n, asked.dear)
    text = report(asked.out)
    (asked.out / "report.md").write_text(text)
    sheet(asked.out, rows(asked.out / "rows.jsonl")).save(asked.out / "sheet.png")
    print(text)
