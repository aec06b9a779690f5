"""The files of a figure: numbers as CSV and pictures as NPZ, each written completely or not at all."""

from __future__ import annotations

import csv
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.reproduce.experiment import Measured, TableRow


def write(measured: Measured, table: Path, pictures: Path) -> None:
    """Writes the table, with six digits per number, and the pictures."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in measured.rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _said(value) for key, value in row.items()} for row in measured.rows)
    write_text(table, text.getvalue())
    with atomic(pictures) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **measured.pictures)  # pyright: ignore[reportArgumentType]


def read(table: Path, pictures: Path) -> Measured:
    """Reads what `write` wrote. Raises InputError if it is missing or damaged."""
    try:
        with np.load(pictures, allow_pickle=False) as stored:
            return Measured(rows(table), dict(stored))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{table.with_suffix('')}: its .csv or .npz is missing or damaged ({error}); delete its .json to measure "
            "it anew"
        ) from error


def rows(table: Path) -> list[TableRow]:
    """The table alone: numbers as numbers, empty cells as None."""
    with table.open(encoding="utf-8", newline="") as file:
        return [{key: _read(value) for key, value in row.items()} for row in csv.DictReader(file)]


def write_text(path: Path, text: str) -> None:
    """Writes a text file, completely or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _said(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _read(value: str) -> Any:
    if value == "":
        return None
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value
