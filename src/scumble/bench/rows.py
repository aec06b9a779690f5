"""The bench's files: one JSON object per edit. Files are appended to, and never mix rows of different settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scumble.core.errors import InputError

TableRow = dict[str, Any]
SETTINGS = ("method", "parameters", "bench")
"""What all rows of a file share."""

TESTS = "test-runs.jsonl"
"""In the output folder: a line for every time that something was measured on a test split."""

KEYS = ("id", "kind", "seed", "repeat", "scores", *SETTINGS)
OLDER = {"refused": None, "refused_back": None}  # what rows did not say when a refusal still ended the bench


def resume(path: Path, settings: Mapping[str, object]) -> list[TableRow]:
    """The rows that an earlier run left. An incomplete last row is removed.

    settings: what every row of this run has under `SETTINGS`.

    Raises:
        InputError: a file with other settings, naming the first difference, or a file that is not of the bench.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    rows = _parse(whole, path)
    asked = json.loads(json.dumps(settings))
    for row in rows:
        for name in SETTINGS:
            if row[name] != asked[name]:
                old, new = dict(_flat(row[name], name)), dict(_flat(asked[name], name))
                key = next(k for k in {**old, **new} if old.get(k) != new.get(k))
                raise InputError(
                    f"{path}: it was started with {key} = {old.get(key)!r}, which is now {new.get(key)!r}; "
                    "finish it with the same settings, or name another folder with -o"
                )
    if whole != data:
        path.write_bytes(whole)
    return rows


def append(path: Path, rows: Sequence[TableRow]) -> None:
    """Adds rows to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[TableRow]:
    """All rows of a file. Raises InputError where it is missing, empty or no file of the bench."""
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the files of the bench in it, {path / '*.jsonl'}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; `scumble bench scenes` and `drawings` write one per method")
    data = path.read_bytes()
    rows = _parse(data[: data.rfind(b"\n") + 1], path)
    if not rows:
        raise InputError(f"{path}: it contains no finished edit")
    return rows


def _parse(data: bytes, path: Path) -> list[TableRow]:
    rows: list[TableRow] = []
    for i, line in enumerate(data.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path} line {i}: not a row of the bench ({error})") from error
        if not isinstance(row, dict) or not all(key in row for key in KEYS):
            raise InputError(f"{path} line {i}: not a row of the bench, which has {', '.join(KEYS)}")
        rows.append(OLDER | row)
    return rows


def _flat(value: object, name: str) -> Iterator[tuple[str, object]]:
    """("bench.split", "test"), ... of nested objects."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}")
    else:
        yield name, value
