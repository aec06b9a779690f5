"""What a picture file is without decoding it: for checks of many files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scumble.core.errors import InputError
from scumble.pictures import png
from scumble.pictures.reading import open_picture, read_bytes

ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 turn the picture by a quarter
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}
TAIL = 65_536  # bytes at the end of a JPEG in which its end marker is looked for: some programs append data


@dataclass(frozen=True, slots=True)
class Glance:
    """A picture file: its sha256, and the size (width, height) that its user sees."""

    sha256: str
    size: tuple[int, int]


def glance(file: Path | bytes, name: str) -> Glance:
    """Look at a picture's header and at its end. Broken pixels in between are found only by decoding it.

    Raises:
        InputError: what `reading.read` raises for a file that is missing, no picture, too large, animated or cut off.
    """
    data = file if isinstance(file, bytes) else read_bytes(file, name)
    image = open_picture(data, name, load=False)
    try:
        turned = image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    except Exception:  # broken EXIF: `read` warns and takes the picture as stored
        turned = False
    size = (image.height, image.width) if turned else image.size
    if not _whole(data, str(image.format)):
        raise InputError(f"{name}: broken or truncated picture (its end is missing)")
    return Glance(hashlib.sha256(data).hexdigest(), size)


def _whole(data: bytes, kind: str) -> bool:
    """Whether the file goes on to its end, as its format marks it."""
    if kind == "PNG":
        critical = [(name, right) for name, _, right in png.chunks(data) if not name[0] & 0x20]
        return critical[-1:] == [(b"IEND", True)] and all(right for _, right in critical)
    if kind == "WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return ENDS[kind] in data[-TAIL:]
