"""Tables of estimates as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scumble.bench.statistics import Estimate


@dataclass(frozen=True)
class Column:
    """A score: its name, its factor for display, and its number of digits."""

    key: str
    title: str
    scale: float = 1
    digits: int = 1

    def show(self, found: Estimate | None) -> str:
        """ "73.2 [69.5, 76.8]"; only the number if there is no interval, or none wide enough to show."""
        if found is None:
            return "n/a"
        mean, low, high = (
            f"{self.scale * v + 0.0:.{self.digits}f}" for v in (found.mean, found.low, found.high)
        )
        return mean if math.isnan(found.low) or low == high else f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Table:
    """Named rows of estimates, one for each column."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Estimate | None]]]


def markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The tables under their titles, and the notes as a list."""
    parts = [f"## {table.title}\n\n{_pipes(table)}" for table in tables]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)]) + "\n"


def _pipes(table: Table) -> str:
    head = ["", "n", *(column.title for column in table.columns)]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    lines += [[label.replace("|", "\\|"), _n(found), *_cells(table, found)] for label, found in table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(table: Table, found: Sequence[Estimate | None]) -> list[str]:
    return [column.show(one) for column, one in zip(table.columns, found, strict=True)]


def _n(found: Sequence[Estimate | None]) -> str:
    """How many edits the estimates of a row rest on, at most."""
    return str(max((one.n for one in found if one is not None), default=0))


def as_csv(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """One line per estimate, unscaled: table, row, score, mean, low, high, n. The notes are left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "row", "score", "mean", "low", "high", "n"))
    for table in tables:
        for label, found in table.rows:
            for column, one in zip(table.columns, found, strict=True):
                if one is not None:
                    interval = ("" if math.isnan(v) else f"{v:.6g}" for v in (one.low, one.high))
                    writer.writerow((table.title, label, column.key, f"{one.mean:.6g}", *interval, one.n))
    return text.getvalue()


def latex(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """One booktabs table each; the notes are comments."""
    return "\n".join([*(f"% {note}" for note in notes), *map(_tabular, tables)]) + "\n"


def _tabular(table: Table) -> str:
    head = ["", "n", *(column.title for column in table.columns)]
    lines = [" & ".join(map(_tex, head)) + r" \\", r"\midrule"]
    lines += [
        " & ".join(map(_tex, [label, _n(found), *_cells(table, found)])) + r" \\"
        for label, found in table.rows
    ]
    body = "\n".join([r"\toprule", *lines, r"\bottomrule"])
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex(table.title)}}}\n\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n{body}\n"
        "\\end{tabular}\n\\end{table}"
    )


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", "/"))


FORMATS = {"md": markdown, "csv": as_csv, "latex": latex}
