"""The bench's contact sheet: for each edit the source, the true edit, and every method's result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scumble.bench.contestants import Contestant
from scumble.bench.rows import TableRow, read_rows
from scumble.bench.run import Bench
from scumble.core.pixels import Pixels
from scumble.measuring.tasks import Tasks
from scumble.pictures import reading, sheets, writing

BLANK = 224  # the grey of a picture that is not there


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture, the lines below it, and whether it is a joint success."""

    pixels: Pixels
    lines: tuple[str, ...]
    good: bool = False


def draw(path: Path, bench: Bench, contestants: Sequence[Contestant], tasks: Tasks) -> None:
    """Writes the contact sheet of the first edits."""
    rows = tiles(bench, contestants, tasks)
    cells = [sheets.Cell(Image.fromarray(t.pixels), t.lines, t.good) for row in rows for t in row]
    title = (
        f"{tasks.world['world']}, first edits: the source, the true edit, and what every method made of it"
    )
    note = "Framed: found, done and kept (docs/bench.md)."
    writing.save(sheets.sheet(cells, columns=len(rows[0]), title=title, note=note), path)


def tiles(bench: Bench, contestants: Sequence[Contestant], tasks: Tasks, count: int = 10) -> list[list[Tile]]:
    """A row of tiles for each of the first `count` edits, with the first seed; all rows have the same length."""
    made = {c.label: {r["id"]: r for r in read_rows(bench.file(c)) if r["repeat"] == 0} for c in contestants}
    rows: list[list[Tile]] = []
    for task in tasks.all[:count]:
        known = task.look()
        row = [Tile(known.source, (f"{task.kind}: {task.source}",))]
        if tasks.has_truths:
            row.append(Tile(known.truths[0], (task.target,)))
        for contestant in contestants:
            found = made[contestant.label][task.id]
            if found["refused"]:
                pixels = np.full_like(known.source, BLANK)
            else:
                pixels = np.asarray(reading.read(bench.out / found["output"]).rgb)
            row.append(Tile(pixels, (contestant.label, verdict(found)), bool(found["scores"]["joint"])))
        rows.append(row)
    return rows


def verdict(row: TableRow) -> str:
    """The scores of a row in words: "found, 12 % left, kept 31.2 dB"."""
    if row["refused"]:
        return "refused"
    scores = row["scores"]
    parts = [] if scores["found"] is None else ["found" if scores["found"] else "not found"]
    parts += [] if scores["left"] is None else [f"{100 * scores['left']:.0f} % left"]
    parts += [] if scores["preserved"] is None else [f"kept {scores['preserved']:.1f} dB"]
    return ", ".join(parts) or f"changed by {scores['changed']:.1f} steps"
