"""Values of `--given name=text`: an artifact in a file, or a network in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scumble.artifacts import ARTIFACTS
from scumble.artifacts import given as artifact
from scumble.core.errors import InputError
from scumble.networks import NETWORKS, load

NAMES = (*ARTIFACTS, *NETWORKS)


def check_name(text: str) -> tuple[str, str]:
    """ "inversion=cat.inv" -> ("inversion", "cat.inv"). Raises InputError, which lists the known names."""
    name, equals, said = text.partition("=")
    if not equals or name not in NAMES:
        networks = ", ".join(f"{network}=FOLDER" for network in NETWORKS)
        raise InputError(
            f"--given {text}: write it as inversion=FILE, bank=FILE, {networks} or direction=A,B"
        )
    return name, said


def read(given: Mapping[str, Any]) -> dict[str, object]:
    """The values of a recipe's `given`, with files and folders read. Raises InputError for one that cannot be read."""
    return {name: _read(name, value) if isinstance(value, str) else value for name, value in given.items()}


def _read(name: str, text: str) -> object:
    return load(name, text) if name in NETWORKS else artifact(name, text)
