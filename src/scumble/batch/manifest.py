"""Manifests: CSV, JSONL, Parquet, a webdataset or a folder of pictures, read row by row as values by column."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tarfile import TarError
from typing import Any

from scumble.batch import shards
from scumble.core.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
WRITTEN_ABOUT = {".mask": "mask", ".reference": "reference"}
"""In a folder, NAME.mask.png is the mask of NAME.png; NAME.txt is its source prompt."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as the manifest has it: `number` counts from 1, empty cells are left out. `fault`: why it is unreadable."""

    number: int
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: str | None = None


def read(manifest: Path, out: Path | None = None) -> Iterator[Entry]:
    """The rows of a manifest, one after the other: none is kept.

    out: the folder of the results, whose pictures are no rows of a folder of pictures that it lies in. Raises
    InputError for a file that is missing, of no known kind, broken as a whole, or without rows, and for a folder of
    pictures that is `out` itself.
    """
    if manifest.is_dir():
        rows = partial(_folder, out=out)
    elif not manifest.exists():
        raise InputError(f"{manifest}: no such file or folder")
    elif manifest.suffix.lower() in READERS:
        rows = READERS[manifest.suffix.lower()]
    else:
        raise InputError(f"{manifest}: a manifest is a folder, or its name ends in {', '.join(READERS)}")
    number = 0
    for number, (values, fault) in enumerate(rows(manifest), 1):
        yield Entry(number, _filled(values), fault)
    if not number:
        raise InputError(f"{manifest}: it has no rows; there is nothing to edit")


def base(manifest: Path) -> Path:
    """The folder that the paths in a manifest are relative to."""
    return manifest if manifest.is_dir() else manifest.parent


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that say something. NaN is what tables of numbers have in an empty cell."""
    return {
        name: cell
        for name, cell in values.items()
        if not (cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()))
    }


Read = Iterator[tuple[Mapping[str, Any], str | None]]


def _csv(path: Path) -> Read:
    with _reading(path), path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        _check_header(path, [str(name).strip() for name in rows.fieldnames or ()])
        for values in rows:
            more = values.pop(None, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
            yield (
                values,
                "it has more cells than the header; quote cells that contain commas" if more else None,
            )


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Raises InputError for a header that names a column twice, and for one that other marks than commas cut."""
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise InputError(
            f"{path}: its header, {names[0]!r}, is one column; save it with commas between the columns"
        )
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"{path}: its header has the column {name!r} twice; rename one of the two")


def _json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, or has a key twice in one object."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _jsonl(path: Path) -> Read:
    with _reading(path), path.open(encoding="utf-8-sig") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                values = _json(line)
            except ValueError as error:
                yield {}, f"not JSON ({error})"
                continue
            yield (
                (values, None) if isinstance(values, dict) else ({}, "not a JSON object of values by column")
            )


def _parquet(path: Path) -> Read:
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{path}: reading Parquet needs the extra: pip install 'scumble[batch]'; or save it as CSV or JSONL"
        ) from None
    with _reading(path):
        for rows in parquet.ParquetFile(path).iter_batches():
            for values in rows.to_pylist():
                yield values, None


def _webdataset(path: Path) -> Read:
    """The samples of a tar file: a picture, and what is said of it in files with the same key."""
    with _reading(path):
        for key, found in shards.samples(path):
            inside = {ending: f"{path.name}::{name}" for ending, name in found.items()}
            values, fault = dict[str, Any](), None
            if "json" in found:
                try:
                    values = _json(shards.contents(str(path.parent / inside["json"])) or b"{}")
                except ValueError as error:
                    fault = f"{inside['json']}: not JSON ({error})"
                if not isinstance(values, dict):
                    values, fault = {}, f"{inside['json']}: not a JSON object of values by column"
            if "txt" in found:
                words = shards.contents(str(path.parent / inside["txt"])) or b""
                values.setdefault("source", " ".join(words.decode("utf-8", "replace").split()))
            pictures = [inside[suffix[1:]] for suffix in PICTURES if suffix[1:] in inside]
            masks = {
                name: inside[f"{name}.png"] for name in WRITTEN_ABOUT.values() if f"{name}.png" in inside
            }
            yield (
                {
                    "id": key.replace("/", "-"),
                    **values,
                    **masks,
                    **({"image": pictures[0]} if pictures else {}),
                },
                fault,
            )


def _folder(folder: Path, out: Path | None) -> Read:
    """Every picture of a folder and its subfolders, in the order of their names; hidden ones, and those in `out`, are
    left out. A folder of tar files is a webdataset of several shards.
    """
    if tars := sorted(folder.glob(f"*{shards.SUFFIX}")):
        for tar in tars:
            yield from _webdataset(tar)
        return
    if out is not None and out.resolve() == folder.resolve():
        raise InputError(
            f"-o {out}: its pictures are the rows, and results among them would be, too; choose another folder"
        )
    with _reading(folder):
        results = None if out is None else out.resolve()
        files = sorted(
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.suffix.lower() in PICTURES and path.is_file() and results not in path.resolve().parents
        )
    there = {path.with_suffix(""): path for path in files}
    for path in files:
        stem = path.with_suffix("")
        if any(part.startswith(".") for part in path.parts) or (
            stem.suffix in WRITTEN_ABOUT and stem.with_suffix("") in there
        ):
            continue
        values = {"image": path.as_posix()}
        for suffix, name in WRITTEN_ABOUT.items():
            if beside := there.get(stem.with_name(stem.name + suffix)):
                values[name] = beside.as_posix()
        if (words := folder / stem.with_name(stem.name + ".txt")).is_file():
            with _reading(words):
                values["source"] = " ".join(words.read_text(encoding="utf-8").split())
        yield values, None


READERS: Mapping[str, Callable[[Path], Read]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
    ".tar": _webdataset,
}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises InputError for a file that cannot be read as what its name says."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, csv.Error, TarError) as error:  # pyarrow's errors are ValueErrors
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        remedy = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise InputError(f"{path}: this manifest cannot be read ({reason}){remedy}") from error
