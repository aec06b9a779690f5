"""The axes of a sweep: parses `--over NAME=A,B`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scumble.cli import values
from scumble.core.errors import InputError
from scumble.editing.sweep import Axes


def axes(texts: Iterable[str]) -> dict[str, list[object]]:
    """["guidance=3,5", "seed=0-2"] to values by name. A repeated axis adds values; duplicates are dropped.

    Values are separated by "|" if there is one, else by commas. Raises InputError for anything else.
    """
    found: dict[str, list[object]] = {}
    for text in texts:
        name, equals, said = (part.strip() for part in text.partition("="))
        parts = [part.strip() for part in said.split("|" if "|" in said else ",")]
        if not equals or not name or not all(parts):
            raise InputError(f"--over {text}: write it as NAME=VALUE,VALUE, such as --over guidance=3,5,7.5")
        found.setdefault(name, []).extend(_read(name, parts))
    if not found:
        raise InputError("--over: nothing to sweep; name a parameter, such as --over guidance=3,5,7.5")
    return {name: _once(read) for name, read in found.items()}


def _read(name: str, parts: Sequence[str]) -> Sequence[object]:
    match name:
        case "seed":
            return values.seeds(parts)
        case "keep":
            return [values.keep(part) for part in parts]
        case "method" | "target":
            return parts
        case _:
            return [values.value(part) for part in parts]


def columns(swept: Axes, cells: int) -> int | None:
    """The length of the last axis, which becomes the columns of the sheet; None if the cells are no full grid."""
    regular = cells == math.prod(map(len, swept.values()))
    return len(list(swept.values())[-1]) if regular and len(swept) > 1 else None


def _once(found: Sequence[object]) -> list[object]:
    return [value for i, value in enumerate(found) if value not in found[:i]]
