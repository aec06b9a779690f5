"""An edit as the command line that makes it."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from scumble.editing.recipe import Recipe

NAMES: Mapping[str, str] = {
    "settings": "--set",
    "form": "--as",
    "clip_skip": "--clip-skip",
    "also": "--and",
}
"""Flags that are not called as their fields are."""

WORDS = {"true", "false", "none", "nan", "inf", "infinity"}  # which a command line reads as values


def flag(name: str) -> str:
    """The flag of a recipe's field."""
    return NAMES.get(name, f"--{name}")


def command_line(recipe: Recipe, swept: Mapping[str, Sequence[object]] | None = None) -> str:
    """One line for a POSIX shell: `scumble edit`, or `scumble sweep` if more than targets and seeds vary.

    recipe: its pictures, method, model and artifacts must be given by name. swept: values by axis (`editing.sweep`).
    """
    axes = swept or {}
    sweeps = bool(axes.keys() - {"target", "seed"})
    line = ["scumble", "sweep" if sweeps else "edit", _path(str(recipe.image))]
    for name, values in axes.items():
        if sweeps:
            line += ["--over", f"{name}={_joined(values)}"]
        else:
            line += [word for value in values for word in (flag(name), str(value))]
    for each in fields(recipe):
        if each.name != "image" and each.name not in axes:
            line += _flags(each, getattr(recipe, each.name))
    return shlex.join(line)


def _joined(values: Sequence[object]) -> str:
    """The values of an axis as one text. A single value, or one with a comma, needs the other separator."""
    texts = [_literal(value) for value in values]
    return ("|" if any("," in text for text in texts) else ",").join(texts)


def _flags(of: Field[Any], value: object) -> Iterator[str]:
    """The flags of a field; none if it has its default."""
    usual = of.default if of.default_factory is MISSING else of.default_factory()
    if value == usual:
        return
    name = flag(of.name)
    if value is True:
        yield name
    elif isinstance(value, Mapping):
        for key, each in cast("Mapping[str, object]", value).items():
            yield from (name, f"{key}={each if of.name == 'given' else _literal(each)}")
    elif isinstance(value, tuple):
        for each in cast("Sequence[object]", value):
            yield from (name, str(each) if isinstance(each, str) else _weighted(each))
    elif isinstance(value, str) and value.startswith("-"):
        yield f"{name}={value}"
    else:
        yield from (name, str(value))


def _weighted(each: object) -> str:
    prompt, weight = cast("tuple[str, float]", each)
    return f"{prompt}:{weight:.17g}"


def _literal(value: object) -> str:
    """A value as `--set` reads it. Strings that would be read as another type are quoted."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value if value.lower().lstrip("+-") not in WORDS else repr(value)
    return repr(value)


def _path(name: str) -> str:
    """A file name that cannot be read as a flag."""
    return f"./{name}" if name.startswith("-") else name
