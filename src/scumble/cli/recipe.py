"""Passports read back: what a file says of how it was made, and whether that is what would be made now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scumble.core.errors import InputError

Passport = Mapping[str, Any]

MEASURED = "layer", "evaluations", "seconds", "measures"  # what is known only afterwards
WORD = str, type(None)
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "scumble": str, "method": str, "settings": dict, "source": WORD, "target": WORD, "negative": str, "seed": int,
    "keep": (str, int, float), "crop": str, "form": str, "size": (int, type(None)), "paper": bool, "force": bool,
    "model": dict, "input": dict, "mask": (dict, type(None)), "given": dict,
    "layer": dict, "evaluations": int, "seconds": (int, float),
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
    "layer": {"changed": (int, float)},
}


def passport_of(path: Path) -> dict[str, Any]:
    """A picture's passport; empty where the file has none, or is no picture."""
    from scumble.pictures import reading

    try:
        return reading.read_passport(path) or {}
    except InputError:
        return {}


def check(told: Passport, name: object) -> None:
    """Raises InputError for a passport that lacks something, or holds what no edit writes."""
    for key, kind in KINDS.items():
        _check(told, key, kind, name)
    for part, kinds in PARTS.items():
        for key, kind in kinds.items() if told[part] is not None else ():
            _check(told[part], key, kind, name)
    for key, value in told["settings"].items():
        _check({key: value}, key, dict, name)
        if "value" not in value:
            raise _damaged(name, key, value)
    for lora in told["model"]["lora"]:
        _check({"lora": lora}, "lora", dict, name)
        for key, kind in {"name": str, "sha256": str, "weight": (int, float)}.items():
            _check(lora, key, kind, name)
    for words in told["model"]["memory"]:
        _check({"memory": words}, "memory", str, name)


def _check(told: Passport, key: str, kind: type | tuple[type, ...], name: object) -> None:
    if key not in told or not isinstance(told[key], kind):
        raise _damaged(name, key, told.get(key))


def _damaged(name: object, key: str, value: object) -> InputError:
    return InputError(
        f"{name}: its passport is damaged, {key} is {str(value)[:40]!r}; it cannot be made again"
    )


def asked(told: Passport) -> dict[str, Any]:
    """The arguments of `scumble.edit` that a checked passport stands for, pictures, method and model
    aside.
    """
    settings = {
        k: tuple(v["value"]) if isinstance(v["value"], list) else v["value"]
        for k, v in told["settings"].items()
    }
    names = "source", "target", "negative", "seed", "keep", "crop", "form", "size", "paper"
    return {"settings": settings, **{name: told[name] for name in names}}


def differences(here: Passport, there: Passport) -> list[str]:
    """What decides the result and is not the same in two passports, in words."""
    return list(_differences(_decisive(here), _decisive(there)))


def versions(here: Passport, there: Passport) -> list[str]:
    """Which versions are not the same in two passports, in words."""
    return list(_differences(here.get("versions"), there.get("versions")))


def _decisive(passport: Passport) -> Any:
    """A passport as JSON has it, without versions, origins of values and what was measured."""
    left = {key: value for key, value in passport.items() if key not in ("versions", *MEASURED)}
    if isinstance(left.get("settings"), dict):
        left["settings"] = {k: v.get("value") for k, v in left["settings"].items() if isinstance(v, dict)}
    return json.loads(json.dumps(left))


def _differences(here: Any, there: Any, name: str = "") -> Iterator[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        for key in here | there:
            yield from _differences(here.get(key), there.get(key), f"{name} {key}".strip())
    elif here != there:
        yield f"{name}: {there!r} then, {here!r} now"
