"""The second set of edits with known answers: 120 pictures drawn by other programs than our renderer.

`data.jsonl` lists them, `pictures/` holds them, `scripts/drawings` drew them. Half are for choosing, half for testing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from scumble.core.connected import Bools
from scumble.core.errors import InputError, nearest
from scumble.core.pixels import Pixels
from scumble.measuring.judge import Known
from scumble.measuring.tasks import DATA, Task, Tasks
from scumble.pictures import reading

HOME = Path(__file__).parent
SPLITS = ("validation", "test")
KEYS = ("id", "split", "kind", "program", "source", "target", "sha256")
PICTURES = ("image", "truth", "mask")
MOVES = "moves"

Move = tuple[int, int]
"""(dx, dy) in pixels."""


def drawing_tasks(split: str, n: int | None = None, home: Path = HOME) -> Tasks:
    """The drawings of a split, the kinds of edits in turn. n: only the first n.

    home: where the list and the pictures lie.

    Raises:
        InputError: an unknown split, n that is none or more than there are, a list or picture that is missing or
            damaged.
    """
    if split not in SPLITS:
        raise InputError(
            f"split: there is no {split!r}{nearest(split, SPLITS)}; there are {' and '.join(SPLITS)}"
        )
    text = _text(home)
    listed = [_entry(line, f"{home / DATA} line {i}") for i, line in enumerate(text.splitlines(), 1)]
    entries = [entry for entry in listed if entry["split"] == split]
    if not 1 <= (len(entries) if n is None else n) <= len(entries):
        raise InputError(
            f"n: {n} is not a number of drawings from 1 to {len(entries)}, which is all of {split}"
        )
    for entry in entries[:n]:
        _check(home, entry)
    return Tasks(
        all=[_task(home, entry, i) for i, entry in enumerate(entries[:n])],
        world={
            "world": "drawings",
            "split": split,
            "sha256": hashlib.sha256(text.encode()).hexdigest()[:16],  # the list tells the pictures' digests
        },
    )


def _text(home: Path) -> str:
    try:
        return (home / DATA).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(home / DATA, "cannot be read") from error


def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise _damaged(where, "not a JSON object") from error
    if isinstance(entry, dict):
        named = cast("dict[str, Any]", entry)
        if all(isinstance(named.get(key), str) for key in (*KEYS, *PICTURES)):
            return named
    raise _damaged(where, f"not a drawing, which has {', '.join((*KEYS, *PICTURES))}")


def _damaged(where: object, what: str) -> InputError:
    return InputError(f"{where}: {what}; the drawings come with scumble: install it again")


def _check(home: Path, entry: Mapping[str, Any]) -> None:
    """Raises InputError where the drawing's pictures are not those that were drawn."""
    digest = hashlib.sha256()
    for role in PICTURES:
        try:
            digest.update((home / entry[role]).read_bytes())
        except OSError as error:
            raise _damaged(home / entry[role], "missing, or cannot be read") from error
    if not digest.hexdigest().startswith(entry["sha256"]):
        raise _damaged(home / entry["image"], "this picture, its true edit or its mask is damaged")


def _task(home: Path, entry: Mapping[str, Any], index: int) -> Task:
    return Task(
        id=entry["id"],
        index=index,
        kind=entry["kind"],
        source=entry["source"],
        target=entry["target"],
        look=lambda: _known(home, entry),
    )


def _known(home: Path, entry: Mapping[str, Any]) -> Known:
    """The picture and its true edits: outside the mask they are the picture's own, also where a JPEG is a bit off."""
    source, drawn, mask = (np.asarray(reading.read(home / entry[role]).rgb) for role in PICTURES)
    mask = mask[..., 0] > 0
    moves: Sequence[Move] = ((0, 0), *map(tuple, entry.get(MOVES, ())))
    answers = [_moved(source, drawn, mask, move) for move in moves]
    return Known(source=source, truths=tuple(t for t, _ in answers), masks=tuple(m for _, m in answers))


def _moved(source: Pixels, truth: Pixels, mask: Bools, move: Move) -> tuple[Pixels, Bools]:
    """The true edit with what lies in the mask moved: an added object may stand at any free place."""
    (dx, dy), (y, x) = move, np.nonzero(mask)
    picture, there = source.copy(), np.zeros_like(mask)
    picture[y + dy, x + dx] = truth[y, x]
    there[y + dy, x + dx] = True
    return picture, there
