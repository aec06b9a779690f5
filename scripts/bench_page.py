"""Measure every method on the first test edits, and write the table and the picture of docs/bench.md.

    python scripts/bench_page.py runs/all

Run it after the weights have changed; it goes on with an interrupted run. Look at the picture afterwards.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scumble import cli
from scumble.bench.baselines import BASELINES
from scumble.bench.report import COST, JOINT, PRESERVED, SUCCESS, gather, values
from scumble.bench.rows import TableRow
from scumble.bench.statistics import Estimate, estimate
from scumble.bench.tables import Column
from scumble.measuring.tasks import scene_tasks

PERCENT = tuple(replace(column, digits=0) for column in (SUCCESS, Column("found", "found, %", 100), JOINT))
COLUMNS = (*PERCENT[:2], PRESERVED, PERCENT[2])
COSTS = (COST[0], replace(COST[1], digits=1))
FRAME = tuple(BASELINES)
ORDER = (
    *FRAME, "dds_fast", "dds", "sds", "flowedit", "edit_friendly", "ddim_inversion", "npi", "direct_inversion", "p2p",
    "pix2pix_zero", "masactrl", "plug_and_play", "ledits_pp", "diffedit", "sdedit:strength=0.6", "ilvr", "sdg",
    "classifier_guidance:strength=0.7", "sdedit+mask", "repaint+mask", "blended_latent_diffusion+mask",
    "blended_diffusion+mask",
)  # fmt: skip
SHOWN = (
    "ceiling", "dds_fast", "dds", "sds", "p2p", "masactrl", "plug_and_play", "ddim_inversion", "diffedit",
    "repaint+mask", "sdedit+mask",
)  # fmt: skip
EDITS = 30
DOCS = Path(__file__).parents[1] / "docs"
TILE, GAP, LABEL, HEAD = 88, 6, 78, 22


def table(methods: Mapping[str, Sequence[TableRow]]) -> Iterator[str]:
    """Markdown, one row a method."""
    yield "| | success, % | found, % | preserved, dB | joint, % | evaluations | seconds |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name in ORDER:
        rows = methods[name]
        cells = [column.show(estimate(values(rows, column))) for column in COLUMNS]
        cells += [column.show(_mean(estimate(values(rows, column)))) for column in COSTS]
        yield f"| {name if name in FRAME else f'`{name}`'} | {' | '.join(cells)} |"


def _mean(found: Estimate | None) -> Estimate | None:
    """Without its interval."""
    return found and replace(found, low=math.nan, high=math.nan)


def sheet(methods: Mapping[str, Sequence[TableRow]], folder: Path) -> Image.Image:
    """The first edit of every kind that none of `SHOWN` refuses, by each of them."""
    rows = {name: {row["id"]: row for row in methods[name]} for name in SHOWN}
    first: dict[str, str] = {}
    for row in methods["ceiling"]:
        if row["kind"] != "noop" and all(rows[name][row["id"]]["output"] for name in SHOWN):
            first.setdefault(row["kind"], row["id"])
    bench = methods["ceiling"][0]["bench"]
    tasks = {t.id: t for t in scene_tasks(bench["split"], len(methods["ceiling"]), bench["side"]).all}
    heads = ("source", "true edit", *SHOWN[1:])
    size = LABEL + len(heads) * (TILE + GAP), HEAD + len(first) * (TILE + GAP)
    drawn = Image.new("RGB", size, "#f4f3ef")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(10)
    for k, head in enumerate(heads):
        pen.text((LABEL + k * (TILE + GAP), 5), head, fill="black", font=font)
    for y, (kind, name) in enumerate(first.items()):
        top = HEAD + y * (TILE + GAP)
        pen.text((4, top + TILE // 2 - 6), kind, fill="black", font=font)
        pictures = [Image.fromarray(tasks[name].look().source)]
        pictures += [Image.open(folder / rows[method][name]["output"]) for method in SHOWN]
        for k, picture in enumerate(pictures):
            small = picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
            drawn.paste(small, (LABEL + k * (TILE + GAP), top))
    return drawn


def measure(folder: Path) -> None:
    """The rows of every method, by `scumble bench scenes`."""
    given = ["--given", "clip=scenes", "--given", "classifier=scenes"]
    asked = [word for name in ORDER if name not in FRAME for word in ("--method", name)]
    options = ["--n", str(EDITS), "--no-back", "--dtype", "bfloat16", "-o", str(folder)]
    status = cli.run(["bench", "scenes", *options, *given, *asked])
    if status:
        raise SystemExit(status)


def main(folder: Path) -> None:
    """Measure what is missing, replace the table in bench.md, and draw pictures/methods.png."""
    measure(folder)
    methods = gather(sorted(folder.glob("*.jsonl")))
    page = DOCS / "bench.md"
    text = page.read_text(encoding="utf-8")
    start = text.index("| | success, % |", text.index("## All methods on the built-in model"))
    end = text.index("\n\n", start)
    page.write_text(text[:start] + "\n".join(table(methods)) + text[end:], encoding="utf-8")
    sheet(methods, folder).save(DOCS / "pictures" / "methods.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
