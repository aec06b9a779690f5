"""A folder -> the network in it: what `--given clip=FOLDER` and `--given classifier=FOLDER` mean."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scumble.core.errors import InputError, article
from scumble.core.places import exists, home

if TYPE_CHECKING:
    from scumble.core.judges import Judge

NETWORKS: dict[str, dict[str, str]] = {
    "classifier": {
        "scumble-classifier": "scumble.networks.classifier:LatentClassifier",
    },
    "clip": {
        "clip": "scumble.networks.pretrained:PretrainedClip",
        "scumble-clip": "scumble.networks.clip:LatentClip",
    },
    "editor": {
        "scumble-editor": "scumble.networks.editor:Editor",
    },
}
"""Name in `EditRequest.given` -> the `model_type` that a folder's config.json states -> "module:Class"."""

STAGES: dict[str, dict[str, str]] = {
    "stage": {"scumble-sr3": "scumble.networks.sr3:SuperResolution"},
}
"""The same for the stages of a cascade, which no method is given."""


def load(name: str, path: str | Path) -> Judge:
    """The network called `name` in a folder, on the CPU, in float32; it moves to where its input lies.

    Raises InputError for a folder that holds none, or another kind.
    """
    folder, kinds = home(path), (NETWORKS | STAGES)[name]
    kind = _config(folder, name).get("model_type")
    if kind not in kinds:
        other = next((known for known, own in (NETWORKS | STAGES).items() if kind in own), None)
        holds = article(other) if other else f"a model of type {kind!r}"
        raise InputError(
            f"{name} {path}: the folder holds {holds}, not {article(name)}; known types are {', '.join(kinds)}"
        )
    module, _, attribute = kinds[kind].partition(":")
    made: Any = getattr(import_module(module), attribute)
    try:
        return made.from_folder(folder)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # files can contradict each other in any way, and libraries say so by any exception
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(
            f"{name} {path}: it cannot be loaded ({reason}); download or save it again"
        ) from error


def _config(folder: Path, name: str) -> dict[str, Any]:
    file = folder / "config.json"
    if not (exists(file) and file.is_file()):
        raise InputError(
            f"{name} {folder}: no config.json there; name the folder of {article(name)} (config.json, weights)"
        )
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} {folder}: config.json is not readable JSON ({error}); save it again"
        ) from None
    return cast("dict[str, Any]", read) if isinstance(read, dict) else {}
