"""Where a training writes: a folder for its result, and one beside it, NAME.log, for logs and checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from scumble.core.atomic import claimed, parts
from scumble.core.errors import InputError
from scumble.scenes.world import VERSION


def log_of(out: Path, what: str, *, kind: str = "", weights: str = "") -> Path:
    """The folder of logs of a training that writes a `what` to `out`.

    kind: the model_type of a folder that such a training made, which may be replaced; weights: the file that it has
    alone where it was cut off in writing.

    Raises InputError where something else is in its place, or in that of the logs.
    """
    if out.name in ("", ".."):
        raise InputError(f"{out}: it has no name of its own; name a new folder for the trained {what}")
    if out.exists() and not (out.is_dir() and replaceable(out, kind, weights)):
        raise InputError(f"{out}: not an empty folder; choose a new one for the trained {what}")
    log = out.with_name(f"{out.name}.log")
    if log.exists() and not log.is_dir():
        raise InputError(f"{log}: a file is where the logs belong; move it, or choose another name for {out}")
    return log


def replaceable(folder: Path, kind: str = "", weights: str = "") -> bool:
    """Whether a folder holds nothing, or only what such a training has written; see `log_of`."""
    left = {part for part, _ in parts(folder)}  # by killed processes
    if {*folder.iterdir()} - left <= {folder / weights}:
        return True
    try:
        told: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(kind) and isinstance(told, dict) and cast("dict[str, Any]", told).get("model_type") == kind


@contextmanager
def alone(out: Path) -> Generator[None]:
    """Inside, no other training writes to `out`; of several processes of one training the first asks for all.

    Raises InputError where another one does, or where nothing can be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    with claimed(out) if os.environ.get("RANK", "0") == "0" else nullcontext():
        yield


def check_world(log: Path) -> None:
    """Note in a training's folder which version of the world it learns.

    Raises InputError for a folder of another version.
    """
    note = log / "world.json"
    if log.exists() and any(log.iterdir()):
        version = json.loads(note.read_text())["version"] if note.exists() else 1
        if version != VERSION:
            raise InputError(
                f"{log}: that training learns version {version} of the scenes world, this one is version {VERSION}; "
                "train into another folder"
            )
    log.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"version": VERSION}, indent=1) + "\n")


def whole(folder: Path, save: Callable[[Path], object]) -> None:
    """Save to a folder, complete or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    save(partial)
    partial.replace(folder)
