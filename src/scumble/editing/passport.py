"""Passports: the record of how a result was made, stored in its file and read back as a recipe."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scumble.core.errors import InputError
from scumble.core.places import exists, home
from scumble.editing.recipe import UPSCALES, Recipe

if TYPE_CHECKING:
    from scumble.core.prior import Prior
    from scumble.core.request import Method
    from scumble.pictures.placed import Placed

Passport = Mapping[str, Any]

SAME = "method", "source", "target", "negative", "seed", "keep", "crop", "form", "size", "paper", "force"
"""What a passport holds as the recipe does."""
RETIRED: Mapping[str, Mapping[str, object]] = {"dds_fast": {"norm": 0.0}}
"""Fields that methods had once -> the value that did nothing, which an older passport may hold."""
RENAMED: Mapping[str, Mapping[str, str]] = {"dds_fast": {"trajectory": "cross_trajectory"}}
"""Fields of methods that an older passport holds under another name -> their name today."""
MEASURED = "layer", "evaluations", "seconds", "measures", "row"  # what is known only afterwards, or who asked
WORD = str, type(None)
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "scumble": str, "method": str, "settings": dict, "source": WORD, "target": WORD, "negative": str, "seed": int,
    "keep": (str, int, float), "crop": str, "form": str, "size": (int, type(None)), "paper": bool, "force": bool,
    "model": dict, "input": dict, "mask": (dict, type(None)), "given": dict,
    "layer": dict, "evaluations": int, "seconds": (int, float),
}  # fmt: skip
PAINTING = "sampling"  # the method of paintings
PAINTED: Mapping[str, type | tuple[type, ...]] = {
    "scumble": str, "method": str, "settings": dict, "target": WORD, "negative": str, "seed": int, "size": list,
    "paper": bool, "force": bool, "model": dict, "evaluations": int, "seconds": (int, float),
}  # fmt: skip
PARTS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "model": {
        "name": str,
        "id": str,
        "hash": str,
        "dtype": WORD,
        "revision": WORD,
        "lora": list,
        "memory": list,
    },
    "input": {"name": str, "sha256": str},
    "mask": {"name": str, "sha256": str},
    "reference": {"name": str, "sha256": str},
    "layer": {"changed": (int, float)},
}


# Written -------------------------------------------------------------------------------------------------


def describe(
    recipe: Recipe, name: str, method: Method, origins: Mapping[str, str], placed: Placed
) -> dict[str, Any]:
    """The passport of an edit: an opened recipe, every value with its origin, the model and the versions."""
    import scumble
    from scumble.artifacts import digest

    file, colon, kind = name.rpartition(":")  # "./file.py:Class"
    return {
        "scumble": scumble.__version__,
        **{same: getattr(recipe, same) for same in SAME},
        "source": recipe.source or None,
        "target": recipe.target or None,
        **({"also": plain(recipe.also)} if recipe.also else {}),
        "method": f"{placeless(file)}:{kind}" if colon else name,
        "settings": {k: {"value": plain(getattr(method, k)), "from": o} for k, o in origins.items()},
        "given": {given: digest(x) for given, x in recipe.given.items()},
        "model": model_of(placed.prior),
        "input": {**_file(placed.picture), "size": list(placed.picture.size)},
        "mask": placed.mask and _file(placed.mask),
        "reference": recipe.reference and _file(recipe.reference),
        "box": list(placed.box) if placed.box else None,
        "versions": dict(versions()),
    }


def _file(picture: Any) -> dict[str, Any]:
    return {"name": Path(picture.name).name, "sha256": picture.sha256}


def model_of(prior: Prior) -> dict[str, Any]:
    """The model's entry in a passport: what it is and how it was loaded."""
    card, loaded = prior.card, prior.loaded
    return {
        "name": placeless(str(loaded.get("name", card.id))),
        "id": card.id,
        "hash": card.hash,
        "licence": card.licence,
        "dtype": loaded.get("dtype"),
        "device": loaded.get("device"),
        "revision": loaded.get("revision"),
        "lora": [{**lora, "name": placeless(lora["name"])} for lora in loaded.get("lora") or ()],
        "memory": list(loaded.get("memory") or ()),
        **{key: loaded[key] for key in ("vae", "embedding", "clip_skip") if loaded.get(key)},
    }


def plain(value: object) -> object:
    """A parameter's value as a JSON value."""
    if isinstance(value, tuple | list):
        return [plain(v) for v in cast("Sequence[object]", value)]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def placeless(name: str) -> str:
    """A path without private folder names: "./..." below the current folder, else its last part.

    Names that are not paths, such as a built-in model or a hub id, stay unchanged.
    """
    path = home(name)
    if not name.startswith(("/", ".", "~")) and not path.is_absolute() and not exists(path):
        return name
    try:
        return f"./{path.resolve().relative_to(Path.cwd()).as_posix()}"
    except ValueError:
        return path.resolve().name


@cache
def versions() -> Mapping[str, str]:
    """The versions of Python, scumble and its dependencies; looked up once, because each is in a file."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    try:
        required = metadata.requires("scumble") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return found
    names = sorted(re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line)
    return found | {name: metadata.version(name) for name in names}


# Read back -----------------------------------------------------------------------------------------------


def passport_of(path: Path) -> dict[str, Any]:
    """A picture's passport; empty if the file has none or is no picture."""
    from scumble.pictures import reading

    try:
        return reading.read_passport(path) or {}
    except InputError:
        return {}


def check(passport: Passport, name: object) -> None:
    """Raises InputError for a passport with a missing or invalid entry."""
    if passport.get("method") == "upscale" and "input" in passport:
        raise InputError(
            f"{name}: it was made by `scumble upscale`; upscale its input again, with the values of its passport"
        )
    for key, kind in (PAINTED if painted(passport) else KINDS).items():
        _check(passport, key, kind, name)
    for part, kinds in PARTS.items():
        for key, kind in kinds.items() if passport.get(part) is not None else ():
            _check(passport[part], key, kind, name)
    for key, value in passport["settings"].items():
        _check({key: value}, key, dict, name)
        if "value" not in value:
            raise _damaged(name, key, value)
    _check({"given": {}, **passport}, "given", dict, name)
    _check_also(passport, name)
    _check({"upscale": {}, **passport}, "upscale", dict, name)
    if "upscale" in passport and passport["upscale"].get("factor") not in UPSCALES:
        raise _damaged(name, "upscale", passport["upscale"])
    _check_model(passport["model"], name)


def painted(passport: Passport) -> bool:
    """Whether the picture was made from text alone, without an input picture."""
    return passport.get("method") == PAINTING and "input" not in passport


def _check_also(passport: Passport, name: object) -> None:
    _check({"also": [], **passport}, "also", list, name)
    for each in passport.get("also", ()):
        if not (isinstance(each, list) and [type(part) for part in cast("list[Any]", each)] == [str, float]):
            raise _damaged(name, "also", passport["also"])


def _check_model(model: Passport, name: object) -> None:
    for lora in model["lora"]:
        _check({"lora": lora}, "lora", dict, name)
        for key, kind in {"name": str, "sha256": str, "weight": (int, float)}.items():
            _check(lora, key, kind, name)
    _check({"clip_skip": 0, "embedding": [], **model}, "clip_skip", int, name)
    _check({"embedding": [], **model}, "embedding", list, name)
    for file in [*model.get("embedding", ()), *([model["vae"]] if "vae" in model else [])]:
        _check({"file": file}, "file", dict, name)
        _check(file, "name", str, name)
        _check(file, "sha256", str, name)
    for words in model["memory"]:
        _check({"memory": words}, "memory", str, name)


def _check(passport: Passport, key: str, kind: type | tuple[type, ...], name: object) -> None:
    if key not in passport or not isinstance(passport[key], kind):
        raise _damaged(name, key, passport.get(key))


def _damaged(name: object, key: str, value: object) -> InputError:
    return InputError(
        f"{name}: its passport is damaged, {key} is {str(value)[:40]!r}; it cannot be made again"
    )


def recipe_of(passport: Passport) -> Recipe:
    """The recipe of a checked passport. Files are names without folders; given artifacts are left out."""
    pictures = {name: passport[name]["name"] for name in ("mask", "reference") if passport.get(name)}
    return Recipe(
        passport["input"]["name"],
        **{name: passport[name] for name in SAME},
        **pictures,
        **asked_of(passport),
    )


def asked_of(passport: Passport) -> dict[str, Any]:
    """The fields of a checked passport that edits and paintings share: further prompts, settings, model, factor."""
    settings = {
        k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in _settings(passport).items()
    }
    model = passport["model"]
    return {
        "also": tuple((prompt, weight) for prompt, weight in passport.get("also", ())),
        "settings": settings,
        "model": model["name"],
        "dtype": model["dtype"] or "auto",
        "revision": model["revision"],
        "lora": tuple(f"{each['name']}:{each['weight']}" for each in model["lora"]),
        "memory": tuple(model["memory"]),
        "vae": model["vae"]["name"] if "vae" in model else None,
        "embedding": tuple(each["name"] for each in model.get("embedding", ())),
        "clip_skip": model.get("clip_skip", 0),
        "upscale": passport["upscale"]["factor"] if "upscale" in passport else 1,
    }


def _settings(passport: Passport) -> dict[str, Any]:
    """The settings of a passport, translated to the method's present fields.

    Fields have their present names. Retired fields that had no effect are dropped. A field that is newer than the
    passport has its default, even if the model's card recommends another value today.
    """
    method = str(passport.get("method"))
    names, retired = RENAMED.get(method, {}), RETIRED.get(method, {})
    values: Passport = passport["settings"]
    held = {k: cast(Passport, v).get("value") for k, v in values.items() if isinstance(v, dict)}
    left = {names.get(k, k): v for k, v in held.items() if not (k in retired and v == retired[k])}
    return _defaults(method) | left


def _defaults(method: str) -> dict[str, Any]:
    """The defaults of one of our methods as JSON values; empty for the user's own files."""
    from scumble import methods

    kind = methods.get(method) if method in {**methods.METHODS, **methods.SAMPLING} else None
    return {f.name: plain(f.default) for f in fields(kind) if f.default is not MISSING} if kind else {}


def differences(here: Passport, there: Passport) -> list[str]:
    """The differences between two passports that affect the result, in words."""
    return list(_differences(_decisive(here), _decisive(there)))


def other_versions(here: Passport, there: Passport) -> list[str]:
    """The versions that differ between two passports, in words."""
    return list(_differences(here.get("versions"), there.get("versions")))


def _decisive(passport: Passport) -> Any:
    """The entries of a passport that affect the result, as JSON values: no versions, origins and measurements."""
    left = {key: value for key, value in passport.items() if key not in ("versions", *MEASURED)}
    if isinstance(left.get("settings"), dict):
        left["settings"] = _settings(passport)
    return json.loads(json.dumps(left))


def _differences(here: Any, there: Any, name: str = "") -> Iterator[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        old, new = cast("dict[str, Any]", there), cast("dict[str, Any]", here)
        for key in new | old:
            yield from _differences(new.get(key), old.get(key), f"{name} {key}".strip())
    elif here != there:
        yield f"{name}: {there!r} then, {here!r} now"
