"""Makes groups of rows: each as it would be made alone, in one call of its method where that allows it."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.batch.ledger import Ledger, Record, failed, made
from scumble.batch.planning import Planner, Task, heard, shape
from scumble.batch.rows import Row
from scumble.core.errors import InputError, MachineError
from scumble.editing.estimate import Trial, larger, small
from scumble.editing.passport import passport_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from scumble.core.request import Edit, OnStep
    from scumble.editing.plan import Plan

Pending = Callable[[], list[Record]]
"""A group that is made, and whose files are being written: waits for them, and gives the records."""


class Maker:
    """Makes rows and saves them in `out`. What its `Planner` has loaded stays from one group to the next."""

    def __init__(self, out: Path, manifest: str):
        self._out, self._manifest = out, manifest
        self.planner = Planner()
        self._writer = ThreadPoolExecutor(1)  # compresses and writes beside the next edits

    def __call__(self, rows: Sequence[Row], on_step: OnStep | None = None) -> list[Record]:
        """The records of a group, whose files are in place and on the disk. What fails is recorded, with its error.

        Raises MachineError where the disk is full or fails, or a model cannot be loaded.
        """
        return self.begin(rows, on_step)()

    def begin(self, rows: Sequence[Row], on_step: OnStep | None = None) -> Pending:
        """Make a group. Raises MachineError as calling does; an error of the disk is raised by what is returned."""
        results: list[Record | Future[Record]] = []
        new: list[Row] = []
        for row in rows:
            there = self._adopted(row)
            results += [there] if there else []
            new += [] if there else [row]
        tasks, faults = self.planner(new)
        results += [failed(row, self._manifest, why) for row, why in faults]
        for _, some in groupby(sorted(tasks, key=shape), key=shape):  # crops may have canvases of their own
            results += self._make([*some], on_step)

        def records() -> list[Record]:
            done = [each.result() if isinstance(each, Future) else each for each in results]
            return sorted(done, key=lambda record: record["row"])

        return records

    def _adopted(self, row: Row) -> Record | None:
        """The record of a file that a killed run has made without recording it.

        A file that is recorded with other bytes was changed afterwards, and one that cannot be decoded is damaged,
        although its passport may be whole.
        """
        path = self._out / row.output
        if not path.exists() or (passport := passport_of(path)).get("row") != row.identity:
            return None
        data = path.read_bytes()
        record, adopted = self._recorded.get(row.identity), made(row, self._manifest, data, passport)
        if record is not None and record["error"] is None and record["sha256"] != adopted["sha256"]:
            return None
        return adopted if _whole(data) else None

    @cached_property
    def _recorded(self) -> Mapping[str, Record]:
        """What the folder's ledger holds when the first file is found that may be adopted."""
        return Ledger(self._out).records

    def try_out(self, rows: Sequence[Row], on_step: OnStep) -> int:
        """Make a group at its pictures' own sizes, to see what it takes; nothing is saved. The evaluations of a row.

        Raises what the method or `on_step` raises.
        """
        tasks = self._tried(rows)
        with heard():
            plans = [small(task.plan) for task in tasks if shape(task) == shape(tasks[0])]
            return together(plans, on_step)[0].evaluations

    def larger(self, rows: Sequence[Row]) -> Trial | None:
        """What drawing a result of a group larger takes, for the first that is; None where none is."""
        plans = [task.plan for task in self._tried(rows)]
        return next((larger(each) for each in plans if each.upscaled), None)

    def _tried(self, rows: Sequence[Row]) -> list[Task]:
        tasks, faults = self.planner(rows)
        if faults:
            raise InputError(faults[0][1])
        return tasks

    def _make(self, tasks: Sequence[Task], on_step: OnStep | None) -> list[Record | Future[Record]]:
        """What comes of tasks that one call can make; where it fails, of each alone or of either half."""
        with heard() as said:
            try:
                started = time.perf_counter()
                edits = together([task.plan for task in tasks], on_step)
                share = (time.perf_counter() - started) / len(tasks)
            except (InputError, MachineError) as error:
                if len(tasks) == 1:
                    return [failed(tasks[0].row, self._manifest, str(error))]
                size = 1 if isinstance(error, InputError) else len(tasks) // 2
                parts = (tasks[i : i + size] for i in range(0, len(tasks), size))
                return [record for part in parts for record in self._make(part, on_step)]
        return [self._finish(task, edit, share, said) for task, edit in zip(tasks, edits, strict=True)]

    def _finish(self, task: Task, edit: Edit, share: float, said: Iterable[str]) -> Record | Future[Record]:
        """Give an edit to the writer, or the record of why it cannot be written."""
        from scumble.pictures import writing
        from scumble.pictures.reading import FORMATS

        row, path = task.row, self._out / task.row.output
        with heard() as more:
            try:
                alone = edit.picture is not None
                done = edit if alone else task.plan.finish(edit, time.perf_counter() - share)
                assert done.picture is not None
                if task.plan.placed.picture.transparent and FORMATS[path.suffix.lower()] == "JPEG":
                    raise InputError(
                        f"{path}: the picture has transparency, which JPEG cannot hold; choose .png or .webp"
                    )
                passport = {**done.provenance, "row": row.identity}
                writing.check_passport(passport, path)
            except InputError as error:
                return failed(row, self._manifest, str(error))
        warning = " / ".join(dict.fromkeys([*([task.warning] if task.warning else []), *said, *more])) or None
        return self._writer.submit(self._write, row, done.picture, passport, warning)

    def _write(self, row: Row, picture: Image, passport: Mapping[str, Any], warning: str | None) -> Record:
        """Save a picture and record it. Raises MachineError where the disk is full or fails."""
        from scumble.pictures import writing

        path = self._out / row.output
        path.parent.mkdir(parents=True, exist_ok=True)
        writing.save(picture, path, passport)
        with path.open("rb") as file:
            os.fsync(file.fileno())  # a record promises that its file is there
            data = file.read()
        return made(row, self._manifest, data, passport, warning)


def together(plans: Sequence[Plan], on_step: OnStep | None = None) -> list[Edit]:
    """The edits of plans that share model, method and canvas, from one call of the method; several are unfinished.

    Each row draws from its own seed, as it would alone. Plans of one picture, source and seed are targets of one
    request, which asks about the source once. Raises what the method raises.
    """
    from scumble.core.host import isolated
    from scumble.core.machine import limits

    first = plans[0]
    if len(plans) == 1:
        return [first(on_step)]
    with isolated(), limits(first.loaded.get("device", "cpu")):
        edit = first.method(first.prior, _request(plans), on_step)
    return [
        replace(
            edit,
            image=edit.image[i : i + 1],
            raw=edit.raw[i : i + 1],
            latent=edit.latent[i : i + 1],
            seed=plan.request.seed,
            maps={},
            kept={},
        )
        for i, plan in enumerate(plans)
    ]


def _request(plans: Sequence[Plan]) -> Any:
    import torch

    from scumble.core.noise import Noise

    requests = [plan.request for plan in plans]
    first = requests[0]
    one = all(
        plan.placed is plans[0].placed and (r.source, r.seed) == (first.source, first.seed)
        for plan, r in zip(plans, requests, strict=True)
    )

    def rows(name: str) -> Any:
        values = [getattr(request, name) for request in requests]
        return values[0] if one or values[0] is None else torch.cat(values)

    def texts(name: str) -> Any:
        return None if getattr(first, name) is None else [getattr(request, name) for request in requests]

    return replace(
        first,
        image=rows("image"),
        latent=rows("latent"),
        mask=rows("mask"),
        reference=rows("reference"),
        source=first.source if one else texts("source"),
        target=texts("target"),
        negative=texts("negative") if any(request.negative for request in requests) else "",
        noise=Noise(first.seed) if one else Noise.of(request.seed for request in requests),
    )


def _whole(data: bytes) -> bool:
    """Whether all of a picture can be decoded."""
    from PIL import Image

    try:
        for check in ("verify", "load"):  # a PNG's checksums, which `load` passes over, and the pixels
            with Image.open(io.BytesIO(data)) as picture:
                getattr(picture, check)()
    except Exception:  # a damaged file can make Pillow raise anything
        return False
    return True


def finished(records: Mapping[str, Record], row: Row, out: Path) -> bool:
    """Whether a row is recorded as made, and its file is as it was recorded."""
    import hashlib

    record = records.get(row.identity)
    if record is None or record["error"] is not None:
        return False
    try:
        data = (out / record["output"]).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == record["sha256"]
