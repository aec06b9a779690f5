"""Paths as users write them."""

from pathlib import Path


def home(path: str | Path) -> Path:
    """The path with ~ replaced by the home folder; as it is where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
