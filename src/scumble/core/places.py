"""Paths as users write them."""

from pathlib import Path

from scumble.core.errors import InputError


def home(path: str | Path) -> Path:
    """The path with ~ replaced by the home folder; as it is where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def exists(path: str | Path) -> bool:
    """Whether there is such a file or folder; no name that the system cannot have (too long, with a NUL) is there."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def no_folder(path: Path) -> InputError:
    """What to raise for a path that should be the folder of a result, and is none."""
    if exists(path):
        return InputError(f"{path}: a file, where a folder is wanted; choose another name")
    return InputError(f"{path}: no such folder; create it first")
