"""Checks that need no thread of a model: uploads, and requests while they are written."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError, MachineError
from scumble.core.machine import limits
from scumble.page.asking import Asked, understood
from scumble.page.house import House
from scumble.page.options import Limits
from scumble.page.store import Client, Upload
from scumble.pictures import reading
from scumble.pictures.canvas import finish

if TYPE_CHECKING:
    from scumble.core.prior import Card


def measured(data: bytes, name: str, most: Limits) -> tuple[int, int]:
    """The size of an uploaded picture: by its header first, then all of it is read.

    Raises InputError for what `reading.read` refuses, and for more pixels than the page allows.
    """
    width, height = reading.open_picture(data, name, load=False).size
    if width * height > most.pixels:
        raise InputError(
            f"{name}: {width}x{height} is {width * height / 1e6:.0f} megapixels; "
            f"this page takes {most.pixels / 1e6:.0f}: make it smaller"
        )
    with limits():
        return reading.read(data, name).size


def shown(upload: Upload) -> bytes:
    """An upload as a result of it would be, as a PNG file: upright, without what else its file held."""
    picture = reading.read(upload.read(), upload.name)
    file = io.BytesIO()
    finish(picture.rgb, picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def seen_as_mask(upload: Upload, of: Upload) -> bytes:
    """An upload as an edit of `of` takes it for its mask, as a grey PNG file. Raises as `reading.read_mask` does."""
    file = io.BytesIO()
    reading.read_mask(upload.read(), of.size).values.save(file, "PNG", compress_level=1)
    return file.getvalue()


def checked(body: object, client: Client, house: House) -> dict[str, Any]:
    """What is to be said of a request before it is made: an error, words that are unknown, the command line."""
    try:
        asked = understood(body, client, house.options)
    except InputError as error:
        return {"error": str(error), "unknown": [], "command": ""}
    told: dict[str, Any] = {"error": "", "unknown": [], "command": ""}
    card = house.desk(asked.model).card
    try:
        told["command"] = asked.command(house.options, card.method if card else None)
        if card is None:
            return told
        _check(asked, card)
    except (InputError, MachineError) as error:
        told["error"] = str(error)
    return told | {"unknown": _unknown(asked, card.words if card else None)}


def _check(asked: Asked, card: Card) -> None:
    """The checks of a plan that need neither the picture nor the network. Raises InputError."""
    from dataclasses import replace

    from scumble.editing import checks, upscaled
    from scumble.editing.recipe import weighted
    from scumble.editing.sweep import variants
    from scumble.editing.upscale import check_picture

    named: dict[str, Any] = {name: upload.name for name, upload in asked.uploads.items()}
    given = {"editor": asked.editor} if asked.editor else {}
    recipe = replace(asked.recipe, **named, given=given, method=asked.recipe.method or card.method)
    image = asked.uploads["image"]
    upscaled.check(recipe.upscale, card)
    if recipe.upscale > 1:
        check_picture(image.size, image.name, recipe.upscale)
    each = [one.recipe for one in variants(asked.axes, recipe)] if asked.axes else [recipe]
    for one in each:
        name = str(one.method)
        kind = checks.method_class(name)
        checks.check_settings(name, kind, one.settings)
        checks.check_given(name, kind, one.given)
        checks.check_needs(name, kind.needs, one)
        checks.check_also(name, kind, one.also)
        checks.check_form(name, kind, one.form)
        checks.check_model(card, name, kind.needs, one.target or (one.source if given else None))
        also = [prompt for prompt, _ in weighted(one.also)]
        checks.check_words(card, [one.source or "", one.target or "", one.negative, *also], one.force)


def _unknown(asked: Asked, words: frozenset[str] | None) -> list[str]:
    """The words of the prompts that the model does not know."""
    from scumble.editing.checks import words_of

    if words is None:
        return []
    recipe = asked.recipe
    prompts = [recipe.source or "", recipe.target or "", recipe.negative, *(p for p, _ in recipe.also)]
    prompts += [str(target) for target in asked.axes.get("target", ())]
    said = dict.fromkeys(word for prompt in prompts for word in words_of(prompt))
    return [word for word in said if word not in words]
