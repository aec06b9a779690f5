"""Places that results are written to: checked before any work is done, and never an input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from scumble.core.atomic import temporary
from scumble.core.errors import InputError
from scumble.core.places import is_folder, no_folder

Node = tuple[int, int]  # a file's device and number: the same under every name and link


class Inputs:
    """The files that are read, each looked up once. With `folders`, all that lies in a folder of them is read, too."""

    def __init__(self, paths: Iterable[str | Path | None], *, folders: bool = False):
        said = {os.fspath(path) for path in paths if path}
        self._nodes = {node for path in said if (node := _node(path)) and (folders or not is_folder(path))}
        self._folders = folders

    def __contains__(self, path: Path) -> bool:
        """Whether writing to `path` would replace one of them."""
        node = _node(path)
        if node is None:
            return False
        above = Path(os.path.realpath(path)).parents if self._folders else ()
        return node in self._nodes or any(_node(folder) in self._nodes for folder in above)


def _node(path: str | Path) -> Node | None:
    """None for what is not there, and for a name that the system cannot have."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def check_input(path: Path, inputs: Inputs) -> None:
    """Raises InputError if writing to `path` would replace an input."""
    if path in inputs:
        raise InputError(f"{path}: this would overwrite the input; choose another name")


def trial(path: Path) -> None:
    """Write the file that would become `path`, and remove it. Raises OSError or, for a NUL in the name, ValueError."""
    part = temporary(path)
    part.touch(exist_ok=False)
    part.unlink()


def check_place(path: Path, inputs: Inputs, *, overwrite: bool = True) -> None:
    """Check, before any work is done, that a file can be written to `path`, by a trial.

    Raises InputError for a folder, one of the inputs, (unless `overwrite`) any existing file, a missing folder, and
    what is read-only.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: a folder is in the way; choose another name")
        check_input(path, inputs)
        if path.exists() and not overwrite:
            raise InputError(f"{path}: this file exists already; choose another name, or --overwrite")
        if not path.parent.is_dir():
            raise no_folder(path.parent)
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path}: cannot be written (the file is read-only)")
        trial(path)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written ({reason})") from error
