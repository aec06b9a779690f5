"""Parsing of command-line values. All functions raise InputError for text that they cannot parse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from scumble.core.errors import InputError
from scumble.editing.words import keep as keep
from scumble.editing.words import value as value
from scumble.editing.words import weighted as weighted

MOST = 1000  # pictures that one command makes


def settings(texts: Iterable[str], shorthands: Mapping[str, object] | None = None) -> dict[str, object]:
    """["steps=100", "guidance=5.5"] to values by name; shorthands (--steps 100) that are not None are added."""
    parsed: dict[str, object] = {}
    for text in texts:
        name, equals, said = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {text}: write it as NAME=VALUE, such as --set steps=100")
        parsed[name.strip()] = value(said.strip())
    for name, given in (shorthands or {}).items():
        if given is not None and name in parsed:
            raise InputError(f"--{name}: --set {name}=... gives it, too; leave one of the two out")
        if given is not None:
            parsed[name] = given
    return parsed


def canvas(text: str) -> tuple[int, int]:
    """ "192x128" to (192, 128), width by height; "128" to (128, 128)."""
    match = re.fullmatch(r"\s*([0-9]{1,6})(?:\s*[xX\u00d7]\s*([0-9]{1,6}))?\s*", text)
    if match is None:
        raise InputError(
            f"--size {text}: write it as WIDTHxHEIGHT in pixels, such as 192x128, or as one number"
        )
    return int(match[1]), int(match[2] or match[1])


def given(texts: Iterable[str]) -> dict[str, str]:
    """["inversion=cat.inv"] to {"inversion": "cat.inv"}."""
    from scumble.editing.given import check_name

    return dict(check_name(text) for text in texts)


def seeds(texts: Iterable[str]) -> list[int]:
    """["0-3", "7"] to [0, 1, 2, 3, 7] without duplicates; [0] if there is none."""
    found: list[int] = []
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", text.strip())
        if match is None:
            raise InputError(f"seed: {text} is not a whole number, 0 or more, or a range such as 0-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"seed: {text} runs backwards; write the smaller number first")
        if last - first >= MOST:
            raise InputError(f"seed: {text} asks for more than {MOST} pictures; take fewer at a time")
        found += range(first, last + 1)
    return list(dict.fromkeys(found)) or [0]


def listed(texts: Iterable[str]) -> list[str]:
    """["slicing,tiling", "offload"] to ["slicing", "tiling", "offload"]."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def targets(source: str, given: Sequence[str], changes: Sequence[str]) -> list[str]:
    """The target prompts: as given, or the source prompt with the changes applied."""
    if changes and given:
        raise InputError("--change: it makes the target from --source; leave --target out")
    return [derived(source, changes)] if changes else list(dict.fromkeys(given)) or [""]


def derived(source: str, changes: Sequence[str]) -> str:
    """The source prompt with words replaced, all at once: "a red mug" by ["red=blue"] is "a blue mug"."""
    pairs: list[tuple[str, str]] = []
    for change in changes:
        old, equals, new = (part.strip() for part in change.partition("="))
        if not equals or not old:
            raise InputError(f"--change {change}: write it as OLD=NEW, such as --change red=blue")
        if not re.search(_whole(old), source, re.IGNORECASE):
            raise InputError(f"--change {change}: the word {old!r} is not in the source prompt {source!r}")
        pairs.append((old, new))
    pairs.sort(key=lambda pair: -len(pair[0]))  # "dark red" before "red"
    pattern = "|".join(f"({_whole(old)})" for old, _ in pairs)
    made = re.sub(pattern, lambda m: pairs[(m.lastindex or 1) - 1][1], source, flags=re.IGNORECASE)
    return " ".join(made.split())


def _whole(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"
