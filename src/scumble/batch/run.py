"""A batch from its checked rows to its folder: what is missing is made, recorded, and shown on sheets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.batch.groups import groups
from scumble.batch.ledger import RESULTS, TABLE, Ledger, Record, write_table
from scumble.batch.making import Maker, Pending, finished
from scumble.core.atomic import atomic, parts
from scumble.core.errors import InputError
from scumble.core.outputs import Inputs
from scumble.editing.passport import passport_of

if TYPE_CHECKING:
    from scumble.batch.check import Checked, Fault
    from scumble.batch.rows import Row
    from scumble.pictures.sheets import Cell

PER_SHEET = 100
PANEL = 100, 160  # pixels of a picture's long side on a sheet, at least and at most
SUMMARY = "summary.json"

Make = Callable[[Iterable[list["Row"]]], Iterator[list[Record]]]
"""What makes groups of rows, in any order: `here`, or Ray's workers."""


@dataclass(frozen=True)
class Batch:
    """A manifest's good rows and the folder that they are made in."""

    checked: Checked
    out: Path
    manifest: str
    size: int = 8
    overwrite: bool = False
    source: Path | None = None  # the manifest's file

    def missing(self, ledger: Ledger) -> list[Row]:
        """The rows that are not made yet, or not as they are asked for now.

        Raises InputError for a result that would replace an input and, unless `overwrite`, for a file in the way that
        is none of this manifest's.
        """
        for name in (RESULTS, TABLE, SUMMARY):
            self._check_input(name)
        outputs = ledger.by_output()
        missing: list[Row] = []
        for row in self.checked.rows:
            if (
                finished(ledger.records, row, self.out)
                and ledger.records[row.identity]["output"] == row.output
            ):
                continue
            self._check_input(row.output)
            self._check_place(row, outputs)
            missing.append(row)
        return missing

    def clear(self) -> None:
        """Remove what killed runs were writing of this batch. Only while no other run writes to the folder."""
        ours = {self.out / row.output for row in self.checked.rows} | {self.out / TABLE, self.out / SUMMARY}
        for folder in {path.parent for path in ours}:
            for part, name in parts(folder):
                if folder / name in ours:
                    part.unlink(missing_ok=True)

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs([self.source, *self.checked.files])

    def _check_input(self, name: str) -> None:
        if (path := self.out / name) in self._inputs:
            raise InputError(
                f"{path}: this would overwrite the input of a row; choose another folder or another --name"
            )

    def _check_place(self, row: Row, outputs: Mapping[str, Record]) -> None:
        path = self.out / row.output
        if self.overwrite or not path.exists():
            return
        record = outputs.get(row.output)
        if record is not None and record["manifest"] == self.manifest:
            return  # ours, to be replaced by what the row says now
        if record is None and passport_of(path).get("row") == row.identity:
            return  # ours, made by a run that was killed before it could record it
        owner = f"{record['manifest']} has made it" if record else "this batch has not made it"
        raise InputError(
            f"{path}: this file exists already, and {owner}; choose another folder or another --name, or --overwrite"
        )

    def run(
        self,
        ledger: Ledger,
        rows: Sequence[Row],
        make: Make,
        *,
        on_group: Callable[[Sequence[Record]], None],
        max_errors: int | None = None,
    ) -> bool:
        """Make rows and record them as they are finished; False where it stopped before the last one.

        Raises InputError where more than `max_errors` rows have failed.
        """
        errors = done = 0
        for records in make(groups(rows, self.checked, self.size)):
            ledger.add(records)
            on_group(records)
            done += len(records)
            errors += sum(record["error"] is not None for record in records)
            if max_errors is not None and errors > max_errors:
                raise InputError(
                    f"--max-errors {max_errors}: {errors} rows failed, the last with: {_last_error(records)}; what is "
                    "made stays, and the same command goes on"
                )
        return done == len(rows)

    def close(self, ledger: Ledger, faults: Sequence[Fault], seconds: float) -> dict[str, Any]:
        """Write results.parquet and summary.json; the summary. The table has the folder's other results, too."""
        records = [
            ledger.records[row.identity] for row in self.checked.rows if row.identity in ledger.records
        ]
        bad = {fault.row: fault for fault in faults}
        records = [*records, *(_bad(fault, self.manifest) for fault in bad.values())]
        records.sort(key=lambda record: record["row"])
        good = [record for record in records if record["error"] is None]
        table = write_table(self.out, [*records, *self._others(ledger)])
        summary = {
            "manifest": self.manifest,
            "rows": len(self.checked.rows) + len(bad),
            "made": len(good),
            "failed": len(records) - len(good) - len(bad),
            "skipped": len(bad),
            "left": len(self.checked.rows) + len(bad) - len(records),
            "evaluations": sum(record["evaluations"] or 0 for record in good),
            "edit_seconds": round(sum(record["seconds"] or 0 for record in good), 3),
            "seconds": round(seconds, 3),
            "table": table,
        }
        with atomic(self.out / SUMMARY) as part:
            part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        return summary

    def _others(self, ledger: Ledger) -> list[Record]:
        """What other manifests have made in this folder."""
        ours = {row.identity for row in self.checked.rows}, {row.output for row in self.checked.rows}
        return [
            record
            for output, record in ledger.by_output().items()
            if record["manifest"] != self.manifest
            and record["identity"] not in ours[0]
            and output not in ours[1]
        ]

    def sheets(self, ledger: Ledger, made: set[str]) -> list[Path]:
        """Draw a contact sheet for every hundred rows of which one is in `made` (identities) or that has none yet.

        A sheet takes no row's name, and replaces no input.
        """
        from scumble.pictures import sheets, writing

        rows, drawn = list(self.checked.rows), list[Path]()
        results = {output.lower() for output in [*ledger.by_output(), *(row.output for row in rows)]}
        for k, first in enumerate(range(0, len(rows), PER_SHEET), 1):
            some = rows[first : first + PER_SHEET]
            path = self.out / f"sheet-{self.manifest}-{k:04d}.png"
            there = path.exists() and not made & {row.identity for row in some}
            if there or path.name.lower() in results or path in self._inputs:
                continue
            cells = [cell for row in some if (cell := self._cell(ledger.records.get(row.identity)))]
            if cells:
                title = f"{self.manifest}: rows {some[0].number} to {some[-1].number}"
                writing.save(sheets.sheet(cells, title=title), path, {"sheet": [row.output for row in some]})
                drawn.append(path)
        return drawn

    def _cell(self, record: Record | None) -> Cell | None:
        from PIL import Image

        from scumble.pictures import sheets

        if record is None:
            return None
        label = record["id"] or f"row {record['row']}"
        if record["error"] is not None:
            return sheets.Cell(sheets.blank().picture, [label, record["error"][:80]])
        with Image.open(self.out / record["output"]) as picture:
            return sheets.Cell(
                sheets.panel(picture, *PANEL), [label, f"{sheets.percent(record['changed'] or 0)} changed"]
            )


def here(maker: Maker, stop: Callable[[], bool]) -> Make:
    """Makes groups in this process, until `stop` says so; the files of one are written beside the next."""

    def make(groups: Iterable[list[Row]]) -> Iterator[list[Record]]:
        written: Pending | None = None
        for group in groups:
            if stop():
                break
            before = written
            try:
                written = maker.begin(group)
            finally:  # also what is made already where this group fails
                if before:
                    yield before()
        if written:
            yield written()

    return make


def _last_error(records: Sequence[Record]) -> str:
    return next((record["error"] for record in reversed(records) if record["error"]), "")


def _bad(fault: Fault, manifest: str) -> Record:
    return Record(
        row=fault.row, id=fault.id, identity="", output="", sha256=None, evaluations=None, seconds=None, changed=None,
        error=fault.message, warning=None, manifest=manifest,
    )  # fmt: skip


class Pace:
    """How fast rows are made, for what is said of the time that is left. Time counts from the first group's end, so
    that starting is not in it.
    """

    def __init__(self, rows: int):
        self._rows, self._done, self._first = rows, 0, (0, 0.0)

    def step(self, rows: int) -> str:
        """A group of `rows` more is done: how many of how many, and from the second on the seconds that are left."""
        self._done += rows
        now = time.monotonic()
        if self._done == rows:
            self._first = rows, now
            return f"{self._done}/{self._rows} rows"
        done, began = self._first
        left = (now - began) / (self._done - done) * (self._rows - self._done)
        return f"{self._done}/{self._rows} rows, {left:.0f} s left"
