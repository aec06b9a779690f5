"""What a client asks for, in JSON, as recipes. Its fields are those of `Recipe`; pictures are ids of uploads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from scumble.core.errors import InputError, nearest
from scumble.core.loading import switch
from scumble.editing.command import command_line
from scumble.editing.recipe import Recipe
from scumble.page.options import Options
from scumble.page.store import Client, Upload

PICTURES = "image", "mask", "reference"
FIELDS = (
    *("source", "target", "method", "negative", "also", "seed", "settings", "paper", "keep", "crop"),
    *("form", "size", "upscale", "force"),
)
"""The recipe's fields that a client sets. The others name files, code or the machine: they are the owner's."""
ALSO = "model", "editor", "over", "invert"
VALUES = str, int, float, bool, type(None)


@dataclass(frozen=True)
class Asked:
    """A request that is understood.

    body: as it came, for reopening. model: the one of the page's. recipe: without pictures, artifacts and model; the
    first edit's where there are several. axes: values by name where there are several edits. invert: make the method's
    first half once, and keep it for further edits of the picture.
    """

    body: Mapping[str, Any]
    model: str
    editor: str | None
    uploads: Mapping[str, Upload]
    recipe: Recipe
    axes: Mapping[str, Sequence[object]]
    invert: bool = False

    @property
    def edits(self) -> int:
        """How many, at most."""
        total = 1
        for values in self.axes.values():
            total *= len(values)
        return total

    def command(self, options: Options, usual: str | None = None) -> str:
        """The command line that makes the same edits of files of the same names. usual: the model's method."""
        named: dict[str, Any] = {name: upload.name for name, upload in self.uploads.items()}
        given = {"editor": options.editors[self.editor]} if self.editor else {}
        loading = {**options.how(self.model), "model": self.model}
        recipe = replace(self.recipe, **named, given=given, **loading)
        if not self.invert:
            return command_line(recipe, self.axes)
        recipe = replace(recipe, method=recipe.method or usual)
        file = f"{self.uploads['image'].name.rpartition('.')[0]}.inv"
        name = prepared(str(recipe.method))
        first = replace(
            recipe, target=None, mask=None, reference=None, keep="auto", crop="auto", form="latent", also=()
        )
        inverted = command_line(first).replace("scumble edit", "scumble invert", 1)
        edited = command_line(replace(recipe, given={name: file}), self.axes)
        return f"{inverted} -o {shlex.quote(file)} && {edited}"


def understood(body: object, client: Client, options: Options) -> Asked:
    """The request in `body`. Raises InputError for everything that can be wrong with it by itself."""
    if not isinstance(body, dict):
        raise InputError("request: it is not a JSON object")
    said = dict(cast("dict[str, Any]", body))
    known = [*PICTURES, *FIELDS, *ALSO]
    for name in said:
        if name not in known:
            raise InputError(
                f"request: there is no {name!r}{nearest(name, known)}; it has {', '.join(known)}"
            )
    if said.get("image") is None:
        raise InputError("image: missing; drop a picture on the page first")
    uploads = {name: client.upload(said[name]) for name in PICTURES if said.get(name) is not None}
    model = said.get("model") or options.models[0]
    if model not in options.offered:
        raise InputError(f"model: {model!r} is not on this page; it has {', '.join(options.offered)}")
    editor = said.get("editor")
    if editor is not None and editor not in options.editors:
        raise InputError(f"editor: {editor!r} is not on this page")
    axes = _axes(said)
    values = {name: said[name] for name in FIELDS if said.get(name) is not None}
    values |= {name: swept[0] for name, swept in axes.items() if name in FIELDS}
    _check_plain(values)
    recipe = Recipe.from_json({"image": uploads["image"].name, **values})
    _check(recipe, options)
    _check_upscaled(uploads["image"], recipe.upscale, options)
    invert = switch(said.get("invert"))
    if invert is None:
        raise InputError(f"invert: {said['invert']!r} is not true or false")
    if invert and (axes.keys() - {"target"}):
        raise InputError(
            "invert: one inversion serves several targets; leave several seeds and the sweep out"
        )
    asked = Asked(cast("dict[str, Any]", body), model, editor, uploads, recipe, axes, invert)
    if asked.edits > options.limits.edits:
        raise InputError(
            f"request: {asked.edits} edits at once are too many here; ask for at most {options.limits.edits}"
        )
    return asked


def _axes(said: dict[str, Any]) -> dict[str, Sequence[object]]:
    """Several targets, several seeds, and what else is swept. A list of one is one value, and is put in its place."""
    found: dict[str, Sequence[object]] = {}
    for name in ("target", "seed"):
        if isinstance(said.get(name), list):
            values = list(dict.fromkeys(_scalars(name, said[name])))
            said[name] = values[0]
            if len(values) > 1:
                found[name] = values
    over: object = said.get("over") or {}
    if not isinstance(over, dict):
        raise InputError("over: it is not an object of lists of values by name")
    for name, values in cast("dict[str, Any]", over).items():
        if name in found:
            raise InputError(f"over: {name} has several values already")
        found[name] = list(dict.fromkeys(_scalars(name, values)))
    return found


def _scalars(name: str, values: Any) -> list[Any]:
    several = cast("list[Any]", values) if isinstance(values, list) else []
    if not several or not all(isinstance(value, VALUES) for value in several):
        raise InputError(f"{name}: {repr(cast(object, values))[:60]} is not a list of values")
    return several


def _check_plain(values: Mapping[str, Any]) -> None:
    """Raises InputError for settings that are more than plain values, or lists of them."""
    settings = values.get("settings", {})
    for name, value in cast("dict[str, Any]", settings).items() if isinstance(settings, dict) else ():
        for each in cast("list[Any]", value) if isinstance(value, list) else [value]:
            if not isinstance(each, VALUES):
                raise InputError(f"{name}: {repr(each)[:60]} is not a value")


def _check(recipe: Recipe, options: Options) -> None:
    """Raises InputError for a method that is no name of one (a file of code!), and for too large a canvas."""
    from scumble import methods
    from scumble.editing.checks import method_names

    method = recipe.method
    if method is not None and (not isinstance(method, str) or method not in method_names()):
        methods.get(str(method))
        raise InputError(f"method: {method!r} edits no pictures")
    if recipe.size is not None and recipe.size > options.limits.canvas:
        raise InputError(f"size: {recipe.size} is more than this page allows, {options.limits.canvas}")


def _check_upscaled(image: Upload, factor: int, options: Options) -> None:
    """Raises InputError for a result that would be larger than a picture may be here."""
    width, height = (factor * side for side in image.size)
    if factor > 1 and width * height > options.limits.pixels:
        raise InputError(
            f"upscale: {width}x{height} is {width * height / 1e6:.0f} megapixels; this page makes at most "
            f"{options.limits.pixels / 1e6:.0f}: make the picture smaller, or leave it out"
        )


def prepared(method: str) -> str:
    """The name of what a method prepares, such as "inversion". Raises InputError for a method of one part."""
    from scumble.editing.checks import method_class

    kind = method_class(method).prepares
    if kind is None:
        raise InputError(f"invert: {method} prepares nothing that could be kept; leave it out")
    return kind.name


def fields_told() -> list[dict[str, Any]]:
    """The fields of a request that are a recipe's, for programs and for the page's hints."""
    told = {f.name: f for f in fields(Recipe)}
    return [
        {"name": name, "help": told[name].metadata["help"], "default": _default(name)}
        for name in (*PICTURES, *FIELDS)
    ]


def _default(name: str) -> object:
    return None if name in PICTURES or name == "settings" else getattr(Recipe, name)
