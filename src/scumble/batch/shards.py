"""Pictures inside tar files, as webdatasets keep them: "shard.tar::key.png" names one like a path.

The samples of a webdataset are files in a row with one key, the name up to its first dot: key.png, key.json,
key.mask.png.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from scumble.core.errors import InputError

SUFFIX = ".tar"
MARK = SUFFIX + "::"
Place = tuple[int, int]  # offset and size in bytes


def contents(name: str) -> bytes | None:
    """The bytes of a picture inside a tar file; None for a name that is a path. Raises InputError."""
    shard, mark, member = name.partition(MARK)
    if not mark:
        return None
    path = Path(shard + SUFFIX)
    try:
        offset, size = index(path)[member]
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except KeyError:
        raise InputError(f"{name}: no such file in {path.name}") from None
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path}: this manifest cannot be read ({error})") from error


@lru_cache(maxsize=64)
def index(path: Path) -> Mapping[str, Place]:
    """The files of a tar file, in its order, and where their bytes are. Raises OSError and TarError."""
    with tarfile.open(path, "r:") as file:
        return {member.name: (member.offset_data, member.size) for member in file if member.isfile()}


def samples(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(key, name of the file by its ending) of every sample of a shard, such as ("0001", {"png": "0001.png"})."""
    key, found = "", dict[str, str]()
    for name in index(path):
        folder, slash, base = name.rpartition("/")
        stem, _, ending = base.partition(".")
        if (own := folder + slash + stem) != key and found:
            yield key, found
            found = {}
        key = own
        found[ending.lower()] = name
    if found:
        yield key, found
