"""What the page's form is made of: models from their cards, methods and parameters from their dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, cast, get_args, get_type_hints

from scumble.core.prior import Card
from scumble.page.desk import Desk

FIRST = "steps", "strength", "guidance"  # the parameters that a form begins with
SOURCE, TARGET = "a red circle on a white background", "a blue circle on a white background"
EXAMPLE = 256  # pixels


def model_told(desk: Desk) -> dict[str, Any]:
    """A model, as far as it has been loaded."""
    maker, card = desk.maker, desk.card
    told: dict[str, Any] = {"name": desk.model, "loaded": maker is not None, "message": desk.failed}
    told["loading"] = desk.loading
    if card is None:
        return told
    return told | {
        "domain": card.domain,
        "licence": card.licence,
        "words": None if card.words is None else sorted(card.words),
        "canvas": card.size,
        "method": card.method,
        "heat": card.can("control", joint=True),
        "upscales": card.upscaler is not None,
        "device": maker and maker.prior.loaded.get("device"),
    }


def methods_told(card: Card | None, editors: Mapping[str, str]) -> list[dict[str, Any]]:
    """The methods that a browser can ask for, each with its parameters; `card`: of the model whose values count.

    Those that need an artifact or a network are left out: the page takes no names of files.
    """
    from scumble.editing.checks import method_class, method_names

    told: list[dict[str, Any]] = []
    for name in method_names():
        kind = method_class(name)
        if kind.needs.given and not (kind.needs.given == ("editor",) and editors):
            continue
        recommended: Mapping[str, object] = card.recommended.get(name, {}) if card else {}
        parameters = [parameter(kind, f, recommended) for f in fields(kind)]
        parameters.sort(key=lambda p: FIRST.index(p["name"]) if p["name"] in FIRST else len(FIRST))
        told.append(
            {
                "name": name,
                "title": kind.paper.title,
                "arxiv": kind.paper.arxiv,
                "summary": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
                "needs": [n for n in ("source", "target", "mask", "reference") if getattr(kind.needs, n)],
                "takes": [n for n in ("reference",) if n in kind.needs.takes],
                "forms": list(kind.forms),
                "composes": kind.composes,
                "inverts": kind.prepares is not None,
                "editor": kind.needs.given == ("editor",),
                "refused": card and _refused(card, name, kind),
                "parameters": parameters,
            }
        )
    return told


def _refused(card: Card, name: str, kind: type[Any]) -> str:
    """Why the model cannot run the method, if so."""
    from scumble.core.errors import InputError
    from scumble.editing.checks import check_model

    try:
        check_model(card, name, kind.needs, "something")
    except InputError as error:
        return str(error)
    return ""


def parameter(kind: type[Any], of: Field[Any], recommended: Mapping[str, object]) -> dict[str, Any]:
    """A parameter of a method as JSON: its kind, its bounds, its default, and what the model's card recommends."""
    hint = get_type_hints(kind)[of.name]
    optional = isinstance(hint, UnionType)
    plain = get_args(hint)[0] if optional else hint
    default = None if of.default is MISSING else of.default
    return {
        "name": of.name,
        "kind": {int: "whole", float: "number", bool: "switch", str: "word"}.get(plain, "other"),
        "optional": optional,
        "default": list(cast("tuple[object, ...]", default)) if isinstance(default, tuple) else default,
        "recommended": recommended.get(of.name),
        "help": of.metadata.get("help", ""),
        "choices": list(of.metadata["choices"]) if "choices" in of.metadata else None,
        **{bound: of.metadata.get(bound) for bound in ("min", "max", "above", "below")},
    }


def example() -> bytes:
    """A picture that the built-in model can edit, as a PNG file."""
    import io

    from PIL import Image

    from scumble.scenes.render import render
    from scumble.scenes.world import Scene, Thing

    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
    file = io.BytesIO()
    Image.fromarray(render(scene, EXAMPLE)).save(file, "PNG")
    return file.getvalue()
