"""Files that appear whole or not at all."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from scumble.core.errors import MachineError


@contextmanager
def atomic(path: Path) -> Generator[Path]:
    """A temporary name beside `path`, put in its place if the block ends well, removed if it does not.

    Raises MachineError where the disk is full or fails.
    """
    part = temporary(path)
    try:
        yield part
        part.replace(path)
    except OSError as error:  # Pillow's have no strerror
        raise MachineError(
            f"{path}: it could not be written ({error.strerror or error}); is there room left on the disk?"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def temporary(path: Path) -> Path:
    """The name beside `path` under which this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
