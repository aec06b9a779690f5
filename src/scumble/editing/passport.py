"""What a passport is written with: values as JSON holds them, names without their places, versions."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def plain(value: object) -> object:
    """A parameter's value as JSON can hold it."""
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def placeless(name: str) -> str:
    """A path without what is nobody's business: "./..." below the current folder, else its last part.

    What is no path, such as a built-in model's name or a hub id, stays as it is.
    """
    path = Path(name).expanduser()
    if not name.startswith(("/", ".", "~")) and not path.is_absolute() and not path.exists():
        return name
    try:
        return f"./{path.resolve().relative_to(Path.cwd()).as_posix()}"
    except ValueError:
        return path.resolve().name


def versions() -> dict[str, str]:
    """Python's, scumble's and its dependencies' versions."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    try:
        required = metadata.requires("scumble") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return found
    names = sorted(re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line)
    return found | {name: metadata.version(name) for name in names}
