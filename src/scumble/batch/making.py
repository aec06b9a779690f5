"""Makes groups of rows: each as it would be made alone, in one call of its method where that allows it."""

from __future__ import annotations

import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scumble.batch import shards
from scumble.batch.ledger import Record, failed, made
from scumble.batch.rows import Row, loading_of, model_key
from scumble.core.errors import InputError, MachineError
from scumble.editing.passport import passport_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from scumble.core.prior import Prior
    from scumble.core.request import Edit, OnStep
    from scumble.editing.plan import Plan
    from scumble.editing.recipe import Recipe
    from scumble.pictures.placed import Placed
    from scumble.pictures.reading import Picture

T = TypeVar("T")
PLACED = 64  # pictures that are kept with their latents, for their next target


@dataclass(frozen=True, eq=False)
class Task:
    """A row, its plan, and what was said while it was planned."""

    row: Row
    plan: Plan
    warning: str | None


Pending = Callable[[], list[Record]]
"""A group that is made, and whose files are being written: waits for them, and gives the records."""


class Maker:
    """Makes rows and saves them in `out`. Its model, pictures and artifacts stay loaded from one group to the next."""

    def __init__(self, out: Path, manifest: str):
        self._out, self._manifest = out, manifest
        self._prior: tuple[str, Prior] | None = None
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
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
        tasks, faults = self._tasks(new)
        results += faults
        for _, some in groupby(sorted(tasks, key=_shape), key=_shape):  # crops may have canvases of their own
            results += self._make([*some], on_step)

        def records() -> list[Record]:
            done = [each.result() if isinstance(each, Future) else each for each in results]
            return sorted(done, key=lambda record: record["row"])

        return records

    def _adopted(self, row: Row) -> Record | None:
        """The record of a file that a killed run has made without recording it."""
        path = self._out / row.output
        if not path.exists() or (passport := passport_of(path)).get("row") != row.identity:
            return None
        return made(row, self._manifest, path.read_bytes(), passport)

    def try_out(self, rows: Sequence[Row], on_step: OnStep) -> None:
        """Begin to make a group, to see what it takes; nothing is saved. Raises what the method or `on_step` raises."""
        tasks, faults = self._tasks(rows)
        if faults:
            raise InputError(str(faults[0]["error"]))
        with _heard():
            together([task.plan for task in tasks if _shape(task) == _shape(tasks[0])], on_step)

    # Plans

    def _tasks(self, rows: Sequence[Row]) -> tuple[list[Task], list[Record]]:
        """The plans of rows, and the records of those that have none; what is new is encoded together."""
        placed: list[tuple[Row, Placed, list[str]]] = []
        tasks: list[Task] = []
        faults: list[Record] = []
        for row in rows:
            with _heard() as said:
                try:
                    placed.append((row, self._placed(row.recipe), said))
                except InputError as error:
                    faults.append(failed(row, self._manifest, str(error)))
        self._encode(each for _, each, _ in placed)
        for row, on, said in placed:
            with _heard() as more:
                try:
                    plan = self._plan(row.recipe, on)
                except InputError as error:
                    faults.append(failed(row, self._manifest, str(error)))
                    continue
            tasks.append(Task(row, plan, " / ".join([*said, *more]) or None))
        return tasks, faults

    def _plan(self, recipe: Recipe, placed: Placed) -> Plan:
        from scumble.editing import given
        from scumble.editing.checks import check_codec
        from scumble.editing.plan import plan

        files = {
            name: self._keep(("given", name, text), lambda n=name, t=text: given.read({n: t})[n])
            for name, text in recipe.given.items()
        }
        recipe = replace(recipe.on(placed.prior), given=files, image=placed.picture, mask=placed.mask)
        if recipe.reference is not None:
            file = str(recipe.reference)
            recipe = replace(recipe, reference=self._keep(("picture", file), lambda: _picture(file)))
        planned = plan(recipe, placed)
        check_codec(placed)
        return planned

    def _placed(self, recipe: Recipe) -> Placed:
        """A row's picture and mask on the model's canvas. Raises InputError for what is broken inside."""
        from scumble.pictures import reading
        from scumble.pictures.placed import Placed

        prior = self._model(recipe)

        def place() -> Placed:
            picture = _picture(str(recipe.image))
            mask = None if recipe.mask is None else str(recipe.mask)
            values = None if mask is None else reading.read_mask(shards.contents(mask) or mask, picture.size)
            return Placed.of(picture, prior, mask=values, size=recipe.size, crop=recipe.crop)

        key = "placed", str(recipe.image), str(recipe.mask), recipe.size, recipe.crop, id(prior)
        return self._keep(key, place)

    def _encode(self, placed: Iterable[Placed]) -> None:
        """What the model makes of pictures that it has not seen yet."""
        from scumble.pictures.placed import encode

        new = {id(each): each for each in placed if "latent" not in vars(each)}
        for _, some in groupby(sorted(new.values(), key=_canvas), key=_canvas):
            with suppress(MachineError):  # out of memory: then one by one
                encode([*some])

    def _model(self, recipe: Recipe) -> Prior:
        from scumble.editing import loading

        key = model_key(recipe)
        if self._prior is None or self._prior[0] != key:
            self._prior = None  # before the next one takes its memory
            self._kept.clear()
            self._prior = key, loading.load(loading_of(recipe))
        return self._prior[1]

    def _keep(self, key: Hashable, find: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = find()
        self._kept.move_to_end(key)
        while len(self._kept) > PLACED:
            self._kept.popitem(last=False)
        return self._kept[key]

    # Edits

    def _make(self, tasks: Sequence[Task], on_step: OnStep | None) -> list[Record | Future[Record]]:
        """What comes of tasks that one call can make; where it fails, of each alone or of either half."""
        with _heard() as said:
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
        with _heard() as more:
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


def _picture(name: str) -> Picture:
    """The picture of a path, or of a name inside a tar file. Raises InputError."""
    from scumble.pictures import reading

    inside = shards.contents(name)
    return reading.read(name) if inside is None else reading.read(inside, name)


def _canvas(placed: Placed) -> tuple[int, int]:
    return placed.fit.canvas


def _shape(task: Task) -> tuple[int, int]:
    return _canvas(task.plan.placed)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Inside, warnings for users are noted instead of said: they belong to rows."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    said += [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


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
