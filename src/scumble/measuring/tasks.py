"""Edits to make and to measure: scenes of a split or a user's pictures, and their place on a prior's canvas."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scumble.core.errors import InputError, nearest
from scumble.core.pixels import Pixels
from scumble.core.prior import Prior
from scumble.core.types import Image
from scumble.measuring.judge import Known
from scumble.pictures import reading
from scumble.pictures.canvas import mask_to_canvas
from scumble.pictures.placed import Placed
from scumble.scenes import SceneEdit, Split, edits

if TYPE_CHECKING:
    from torch import Tensor

SEED = 100  # of the bench's stream: no gate and no other measurement reads it
MOST = 2**20
"""Edits of a split; the next seed of every edit starts beyond them."""

DATA = "data.jsonl"
NEEDED, OPTIONAL = ("image", "source", "target"), ("mask", "truth", "kind", "id")


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """One edit to make: edit `index` of its set. `look()` renders or reads its pictures at every call."""

    id: str
    index: int
    kind: str
    source: str
    target: str
    look: Callable[[], Known] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Tasks:
    """The edits of one set; `world` identifies the set."""

    all: Sequence[Task]
    world: Mapping[str, object]
    has_masks: bool = True
    has_truths: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """An edit to make, its known right answers, and its picture on a prior's canvas."""

    task: Task
    known: Known
    placed: Placed

    @classmethod
    def of(cls, task: Task, prior: Prior) -> Case:
        """Renders or reads the edit's pictures."""
        known = task.look()
        return cls(task=task, known=known, placed=Placed.of(reading.read(known.source, task.id), prior))

    def put(self, pixels: Pixels) -> Image:
        """A picture of the source's size on the canvas, (1, 3, H, W)."""
        return self.placed.put(reading.read(pixels, self.task.id))

    def mask(self) -> Tensor:
        """The true mask on the canvas, (1, 1, H, W)."""
        from PIL import Image

        return mask_to_canvas(Image.fromarray(np.uint8(255) * self.known.masks[0]), self.placed.fit)


def scene_tasks(
    split: Split, n: int, side: int, stream: Iterator[SceneEdit] | None = None, name: str = "scenes"
) -> Tasks:
    """The first n edits of a split, rendered as squares of `side` pixels.

    stream: other edits than the bench's; `name` is then what this set is called.

    Raises:
        InputError: n below 1, or larger than the split.
    """
    if not 1 <= n <= MOST:
        raise InputError(f"n: {n} is not a number of edits from 1 to {MOST}, which is all that a split has")
    drawn = islice(stream or edits(split, SEED), n)
    tasks = [_of(edit, f"{name}-{split}-{i:06}", i, side) for i, edit in enumerate(drawn)]
    return Tasks(all=tasks, world={"world": name, "split": split, "side": side})


def _of(edit: SceneEdit, name: str, index: int, side: int) -> Task:
    return Task(
        id=name,
        index=index,
        kind=edit.kind,
        source=edit.source_caption,
        target=edit.target_caption,
        look=lambda: Known.of(edit, side),
    )


def folder_tasks(folder: Path, n: int | None = None) -> Tasks:
    """The edits that FOLDER/data.jsonl lists, one JSON object a line; file names are relative to the folder.

    image, source, target; optional: mask (white may change) and truth (the right answer), of the image's size,
    kind and id. n: only the first n.

    Raises:
        InputError: no such list, a line that is not such an object, a picture that is missing or cannot be read, a
            mask or truth of another size, an id given twice, n larger than the list.
    """
    path = folder / DATA
    if not path.is_file():
        raise InputError(f"{folder}: no {DATA} there; each line is a JSON object with {', '.join(NEEDED)}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: it contains no edits")
    if n is not None and not 1 <= n <= len(lines):
        raise InputError(f"n: {n} is not a number of edits from 1 to {len(lines)}, which is all of {path}")
    entries = [_entry(line, f"{path} line {i}") for i, line in lines[:n]]
    digest = hashlib.sha256(text.encode())
    tasks: list[Task] = []
    for (i, _), entry in zip(lines, entries, strict=False):
        digest.update("".join(_check_pictures(folder, entry)).encode())
        name = entry.get("id", f"{i:06}")
        if not re.fullmatch(r"\w[\w.-]*", name) or any(name == task.id for task in tasks):
            raise InputError(f"{path} line {i}: the id {name!r} is taken, or not valid as a file name")
        tasks.append(_listed(folder, entry, name, len(tasks)))
    return Tasks(
        all=tasks,
        world={"world": folder.name, "split": None, "sha256": digest.hexdigest()[:16]},
        has_masks=all("mask" in entry or "truth" in entry for entry in entries),
        has_truths=all("truth" in entry for entry in entries),
    )


def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        loaded = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not a JSON object ({error})") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{where}: not a JSON object")
    entry = cast("dict[str, Any]", loaded)
    for key, value in entry.items():
        if key not in (*NEEDED, *OPTIONAL):
            raise InputError(f"{where}: unknown key {key!r}{nearest(key, [*NEEDED, *OPTIONAL])}")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{where}: {key} is {value!r}, not text")
    for key in NEEDED:
        if key not in entry:
            raise InputError(f"{where}: {key} is missing")
    return entry


def _check_pictures(folder: Path, entry: Mapping[str, str]) -> Iterator[str]:
    """The digests of an edit's pictures."""
    picture = reading.read(folder / entry["image"])
    yield picture.sha256
    if "mask" in entry:
        yield reading.read_mask(folder / entry["mask"], picture.size).sha256
    if "truth" in entry:
        truth = reading.read(folder / entry["truth"])
        if truth.size != picture.size:
            ours, its = ("x".join(map(str, size)) for size in (truth.size, picture.size))
            raise InputError(
                f"{truth.name}: {ours} pixels, but {picture.name} has {its}; a truth must have the picture's size"
            )
        yield truth.sha256


def _listed(folder: Path, entry: Mapping[str, str], name: str, index: int) -> Task:
    return Task(
        id=name,
        index=index,
        kind=entry.get("kind", "edit"),
        source=entry["source"],
        target=entry["target"],
        look=lambda: _read(folder, entry),
    )


def _read(folder: Path, entry: Mapping[str, str]) -> Known:
    """What is known of a listed edit. Without a mask, what the truth leaves unchanged must stay."""
    picture = reading.read(folder / entry["image"])
    source = np.asarray(picture.rgb)
    truth = np.asarray(reading.read(folder / entry["truth"]).rgb) if "truth" in entry else None
    masks = ()
    if "mask" in entry:
        masks = (np.asarray(reading.read_mask(folder / entry["mask"], picture.size).values) > 0,)
    elif truth is not None:
        masks = ((truth != source).any(-1),)
    return Known(source=source, truths=() if truth is None else (truth,), masks=masks)
