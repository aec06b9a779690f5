"""Rows: a line of a manifest as a recipe, with a name for its output and an identity."""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from scumble.batch.manifest import Entry
from scumble.core.errors import InputError, nearest
from scumble.core.loading import Loading
from scumble.core.places import exists, home
from scumble.editing import words
from scumble.editing.recipe import Recipe

NAMES = [f.name for f in fields(Recipe)]
NESTED = "settings", "given"  # written settings.steps, given.inversion
PICTURES = "image", "mask", "reference"
FILES = "vae", "lora", "embedding"
OWN = "id"  # a column of ours: what the row is called
ELSEWHERE = {"device", "offline", "memory", "paper", "force"}
"""Fields that say how an edit is made, not what it shows: the same row on another machine is the same row. (`paper`
decides values, which count themselves.)"""
ROUNDED = {"8bit", "4bit"}
"""The members of `memory` that count nevertheless: they round the weights, which changes the result."""


@dataclass(frozen=True, slots=True)
class Row:
    """An edit of a batch. `number`: in the manifest, from 1; `id`: what it is called, if anything; `identity`: the
    hash of all that decides its result; `output`: the file's name in the batch's folder.
    """

    number: int
    id: str | None
    recipe: Recipe
    identity: str
    output: str


@dataclass(frozen=True)
class Reading:
    """How a manifest's rows become recipes: what all rows have unless they say otherwise, and where paths begin."""

    usual: Recipe
    base: Path
    ignored: Collection[str] = ()

    def recipe(self, entry: Entry) -> Recipe:
        """Raises InputError for a column that is no field, and for values that no edit can have."""
        if entry.fault:
            raise InputError(entry.fault)
        values, given = dict[str, Any](), set[tuple[str, str]]()
        nested: dict[str, dict[str, Any]] = {name: dict(getattr(self.usual, name)) for name in NESTED}
        for column, cell in entry.values.items():
            name, dot, inner = str(column).partition(".")
            if column == OWN or column in self.ignored:
                continue
            if name in NESTED:
                said = {inner: cell} if dot else _inside(name, cell)
                if twice := [k for k in said if (name, k) in given]:
                    raise InputError(f"{name}.{twice[0]}: {name} has it, too; leave one of the two out")
                given |= {(name, k) for k in said}
                nested[name] |= {k: self._setting(name, v) for k, v in said.items()}
            elif not dot and name in NAMES:
                values[name] = self._field(name, cell)
            else:
                known = [*NAMES, OWN, "settings.NAME", "given.NAME"]
                raise InputError(
                    f"column {column!r}: no such field{nearest(str(column), known)}; rename it, or --ignore {column}"
                )
        if not (values.get("image") or self.usual.image):
            raise InputError("image: missing; every row names the picture to edit")
        return replace(self.usual, **values, **nested)

    def _setting(self, name: str, cell: Any) -> Any:
        if name == "given":
            there = isinstance(cell, str) and exists(self.base / home(cell.strip()))
            return self._path(cell) if there else cell  # else words, such as cat,dog
        return words.value(cell.strip()) if isinstance(cell, str) else _tuples(cell)

    def _field(self, name: str, cell: Any) -> Any:
        if name in PICTURES:
            return self._path(cell) if isinstance(cell, str) else cell
        if name in READ and isinstance(cell, str):
            cell = READ[name](cell.strip())
        if name == "model" and isinstance(cell, str) and cell.startswith((".", "~")):
            return self._path(cell)
        if name in FILES:
            return self._paths(_tuples(cell))
        return _whole(name, _tuples(cell))

    def _paths(self, cell: Any) -> Any:
        """The paths of one name or several; what is no name stays as it is, for the recipe to refuse."""
        if isinstance(cell, tuple):
            return tuple(self._paths(each) for each in cast("tuple[Any, ...]", cell))
        return self._path(cell) if isinstance(cell, str) else cell

    def _path(self, text: str) -> str:
        """A path of the manifest; a name that is no file there stays as it is, for who reads it to say so."""
        path = self.base / home(text.strip())
        return os.path.normpath(path)


def _inside(name: str, cell: Any) -> Mapping[str, Any]:
    """The values by name that JSON and Parquet may nest in one column. Raises InputError for any other cell."""
    if not isinstance(cell, Mapping):
        raise InputError(
            f"{name}: {cell!r} is not an object of values by name; a column for each, {name}.NAME, will do, too"
        )
    return {str(k): v for k, v in cast("Mapping[Any, Any]", cell).items() if v is not None}


def _tuples(cell: Any) -> Any:
    return tuple(_tuples(each) for each in cast("list[Any]", cell)) if isinstance(cell, list) else cell


def _whole(name: str, cell: Any) -> Any:
    """A whole number where a table with empty cells made a float of it."""
    return (
        int(cell)
        if name in ("seed", "size", "clip_skip") and isinstance(cell, float) and cell.is_integer()
        else cell
    )


def _several(text: str) -> list[str]:
    return [each.strip() for each in text.split("|") if each.strip()]


READ: Mapping[str, Callable[[str], Any]] = {
    "seed": words.value,
    "size": words.value,
    "clip_skip": words.value,
    "paper": words.value,
    "force": words.value,
    "offline": words.value,
    "keep": words.keep,
    "also": lambda text: words.weighted(_several(text)),
    "lora": _several,
    "embedding": _several,
    "memory": _several,
}
"""Fields that are no text, read from the text of a cell; several values are separated by |."""


# Identity and name ---------------------------------------------------------------------------------------


def identity(recipe: Recipe, values: Mapping[str, object], contents: Mapping[str, str]) -> str:
    """The hash of what decides a row's result: the recipe, with the content of its files in place of their names.

    values: all values of the method, whoever chose them. contents: a hash by name for "image", "mask", "reference",
    "model", and "given.NAME".
    """
    said = {
        f.name: value
        for f in fields(Recipe)
        if f.name not in ELSEWHERE and (value := getattr(recipe, f.name)) != f.default
    }
    said["given"] = {k: contents.get(f"given.{k}", v) for k, v in recipe.given.items()}
    said["settings"] = values
    said |= {name: content for name, content in contents.items() if "." not in name}
    if rounded := sorted(ROUNDED & set(recipe.memory)):
        said["memory"] = rounded
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Namer(string.Formatter):
    """Output names by a template such as "{image}-{seed}.png"."""

    def __init__(self, template: str | None):
        from scumble.pictures.reading import FORMATS

        self.template = template
        if template is None:
            return
        outside = Path(template).is_absolute() or ".." in Path(template).parts
        if Path(template).suffix.lower() not in FORMATS or outside:
            raise InputError(
                f"--name {template}: it must end in {', '.join(FORMATS)}, and be relative to the output folder"
            )
        try:
            list(self.parse(template))
        except ValueError as error:
            raise InputError(
                f"--name {template}: not a template ({error}); write it as {{image}}-{{seed}}.png"
            ) from error

    def name(self, entry: Entry, recipe: Recipe, identity: str) -> str:
        """A name below the output folder. Raises InputError for a field that the row does not have."""
        id = entry.values.get(OWN)
        stem = Path(str(recipe.image)).stem
        template = self.template or ("{id}.png" if id is not None else "{image}.{identity}.png")
        known = {"row": entry.number, "image": stem, "identity": identity[:10]}
        try:
            made = self.vformat(template, (), _Known(known, entry.values, recipe))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise InputError(f"--name {template}: the row has no {error} for it") from error
        return made

    def format_field(self, value: Any, format_spec: str) -> str:
        """A value as a part of a file's name: no folder, no character that a file system refuses."""
        text = super().format_field(value, format_spec)
        kept = "".join("-" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in text).strip()
        if not kept.strip("."):
            raise ValueError("text")
        return kept[:120]

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        """A column, such as {seed} or {settings.steps}; nothing of Python's objects."""
        return kwargs[field_name], field_name


class _Known(dict[str, Any]):
    """What a name can be made of: what we know of the row, its own cells, else the recipe's values."""

    def __init__(self, known: Mapping[str, Any], cells: Mapping[str, Any], recipe: Recipe):
        super().__init__({**cells, **known})
        self._recipe = recipe

    def __missing__(self, name: str) -> Any:
        outer, dot, inner = name.partition(".")
        if outer in NESTED and dot:
            return getattr(self._recipe, outer)[inner]
        if name in NAMES and (value := getattr(self._recipe, name)) is not None:
            return value
        raise KeyError(name)


def loading_of(recipe: Recipe) -> Loading:
    """The model of a recipe, and how it is loaded."""
    return Loading(recipe.model, **recipe.options)


def model_key(recipe: Recipe) -> str:
    """What tells loaded models apart."""
    return json.dumps([str(recipe.model), recipe.options], sort_keys=True)
