"""Files that appear whole or not at all, and names that one run at a time writes to."""

import itertools
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scumble.core import machine
from scumble.core.errors import InputError, MachineError

_parts = itertools.count()


class Taken(InputError):
    """Another run writes to the name."""


@contextmanager
def atomic(path: Path, *, replace: bool = True) -> Generator[Path]:
    """A temporary name beside `path`, put in its place if the block ends well, removed if it does not.

    What is replaced keeps its permissions; a symbolic link stays one, and its target is replaced.

    Raises:
        MachineError: the disk is full or fails.
        FileExistsError: there is such a file by now, and `replace` is False.
    """
    place = path.resolve() if path.is_symlink() else path
    part = temporary(place)
    try:
        yield part
        if replace:
            with suppress(FileNotFoundError):
                part.chmod(stat.S_IMODE(place.stat().st_mode))
            part.replace(place)
        else:
            _put(part, place)
    except FileExistsError:
        raise
    except OSError as error:  # Pillow's have no strerror
        raise MachineError(
            f"{path}: it could not be written ({error.strerror or error}); is there room left on the disk?"
        ) from error
    finally:
        with suppress(OSError):  # it is not there, or the disk takes no changes
            part.unlink()


def _put(part: Path, place: Path) -> None:
    """Give a file its name, unless it is taken: in one step, where the file system has links."""
    try:
        os.link(part, place)
    except FileExistsError:
        raise
    except OSError:  # no hard links here
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        part.replace(place)


def temporary(path: Path) -> Path:
    """A name beside `path` under which it is written, each time another one."""
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_parts)}.part")


def parts(folder: Path) -> Iterator[tuple[Path, str]]:
    """The temporary files of a folder, and the names that they are to get. Killed processes leave theirs behind."""
    for path in folder.glob(".*.part"):
        if found := re.fullmatch(r"\.(.+)\.\d+-\d+\.part", path.name):
            yield path, found[1]


@contextmanager
def claimed(path: Path) -> Generator[None]:
    """Inside, no other run that asks gets this name. What a killed process has left is taken over.

    Raises:
        Taken: another run writes to it.
        InputError: the folder cannot be written to.
    """
    mark = path.with_name(f".{path.name}.claim")
    try:
        mine = _claim(mark)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    if not mine:
        raise Taken(
            f"{path}: another run is writing this now; choose another name, or wait for it (a run that was killed "
            f"elsewhere may have left {mark.name}: delete it)"
        )
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def _claim(mark: Path) -> bool:
    """Whether `mark` could be made for this process; no other one makes it while that one lives."""
    for _ in range(2):
        try:
            with os.fdopen(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "w") as file:
                file.write(str(os.getpid()))
            return True
        except FileExistsError:
            if not _abandoned(mark):
                return False
            mark.unlink(missing_ok=True)
    return False


def _abandoned(mark: Path) -> bool:
    """Whether the process that made a claim is gone. One that has not said its number yet is alive."""
    try:
        return not machine.alive(int(mark.read_text()))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
