"""The axes of a sweep: from `--over NAME=A,B` to its cells, each with what sets it apart."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from scumble.cli import values
from scumble.core.errors import InputError, nearest
from scumble.editing.checks import check_settings, method_class

EDITS = "method", "target", "seed", "keep"  # what of an edit can be swept besides its method's parameters
Axes = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Variant:
    """One cell: `values` by axis, in the order of the axes, and all that its edit takes besides."""

    values: Mapping[str, object]
    edit: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The values in words."""
        told = {name: f'"{value}"' if name == "target" else value for name, value in self.values.items()}
        return ", ".join(f"{name} {value}" for name, value in told.items())

    @property
    def file(self) -> str:
        """A name of its own on every file system, made of the values alone: a longer sweep finds it again."""
        return (
            _word("_".join(f"{name}-{_word(value, 40)}" for name, value in self.values.items()), 160) + ".png"
        )


def axes(texts: Iterable[str]) -> dict[str, list[object]]:
    """["guidance=3,5", "seed=0-2"] to values by name. An axis named again gets more values; none comes twice.

    Values stand between commas, or where there is a "|" between those. Raises InputError.
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


def variants(swept: Axes, settings: Mapping[str, object], **edit: Any) -> list[Variant]:
    """The cells of all combinations. What a method has no such parameter for is not combined with it.

    `settings` and `edit` are what all cells share. Raises InputError for a name that is no axis, a parameter that
    none of the methods has, a value out of range, what is both swept and fixed, and too many cells.
    """
    kinds = {str(name): method_class(str(name)) for name in swept.get("method", [edit["method"]])}
    owned = {name: {f.name for f in fields(kind)} for name, kind in kinds.items()}
    _check(swept, settings, owned)
    if math.prod(map(len, swept.values())) > values.MOST:
        raise InputError(f"--over: these are more than {values.MOST} cells; sweep fewer values at a time")
    found: dict[str, Variant] = {}
    for combination in itertools.product(*swept.values()):
        chosen = dict(zip(swept, combination, strict=True))
        method = str(chosen.get("method", edit["method"]))
        apart = {k: v for k, v in chosen.items() if k in EDITS or k in owned[method]}
        given = {k: v for k, v in {**settings, **apart}.items() if k in owned[method]}
        check_settings(method, kinds[method], given)
        told = {**edit, **{k: v for k, v in apart.items() if k in EDITS}, "settings": given}
        found.setdefault(repr(apart), Variant(apart, told))
    return list(found.values())


def _check(swept: Axes, settings: Mapping[str, object], owned: Mapping[str, set[str]]) -> None:
    for name in settings:
        if name in swept:
            raise InputError(f"--set {name}: --over sweeps it; leave one of the two out")
    known = {parameter for parameters in owned.values() for parameter in parameters}
    for name in [*settings, *swept]:
        if name not in known and (name not in EDITS or name in settings):
            raise InputError(
                f"{' and '.join(owned)}: no parameter {name!r}{nearest(name, {*known, *EDITS})}; known are "
                f"{', '.join(sorted(known))}; --over also takes {', '.join(EDITS)}"
            )


def columns(swept: Axes, cells: int) -> int | None:
    """The length of the last axis where the cells are a whole grid, so that its values stand in columns."""
    regular = cells == math.prod(map(len, swept.values()))
    return len(list(swept.values())[-1]) if regular and len(swept) > 1 else None


def _word(value: object, longest: int) -> str:
    """A value in letters that every file system takes and keeps apart."""
    text = str(value)
    word = re.sub(r"[^a-z0-9.+_-]+", "-", text.lower())[:longest].strip("-.")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return word if word == text else f"{word}-{digest}".lstrip("-")


def _once(found: Sequence[object]) -> list[object]:
    return [value for i, value in enumerate(found) if value not in found[:i]]
