"""Repair of PNG files whose only fault is an ancillary chunk, which no picture needs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf")
"""Chunks that Pillow refuses when they are large, and the whole picture with them."""

LARGE = 1_000_000
"""Bytes above which a text, a colour profile or EXIF data is dropped."""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Each chunk as (kind, bytes of the whole chunk, whether its checksum is right). Ends where the file is cut off."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        whole = data[at : at + 12 + length]
        if len(whole) < 12 + length:
            return
        kind, body, checksum = whole[4:8], whole[4:-4], struct.unpack(">I", whole[-4:])[0]
        yield kind, whole, zlib.crc32(body) == checksum
        at += 12 + length


def mended(data: bytes) -> tuple[bytes, list[str]] | None:
    """The file without the ancillary chunks that prevent reading, and the names of these chunks.

    None if the file is no PNG or nothing can be dropped: a broken critical chunk cannot be repaired.
    """
    if not data.startswith(SIGNATURE):
        return None
    kept, dropped = [SIGNATURE], list[str]()
    for kind, whole, right in chunks(data):
        ancillary = bool(kind[0] & 0x20)  # the case of its first letter says so
        if ancillary and (not right or (kind in TEXTS and _size(kind, whole[8:-4]) > LARGE)):
            dropped.append(kind.decode("latin-1"))
        else:
            kept.append(whole)
    return (b"".join(kept), dropped) if dropped else None


def _size(kind: bytes, body: bytes) -> int:
    """The size of a chunk's content in bytes, decompressed only as far as needed to see that it is too large."""
    head, _, rest = body.partition(b"\0")
    if kind in (b"zTXt", b"iCCP"):
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return len(body)
    try:
        return len(head) + len(zlib.decompressobj().decompress(packed, LARGE + 1))
    except zlib.error:
        return LARGE + 1


def gamma(data: bytes) -> float | None:
    """The gamma of a gAMA chunk; None if there is none, or a colour profile overrides it."""
    found = {kind: whole[8:-4] for kind, whole, right in chunks(data) if right}
    if not data.startswith(SIGNATURE) or b"gAMA" not in found or {b"iCCP", b"sRGB", b"cICP"} & found.keys():
        return None
    return struct.unpack(">I", found[b"gAMA"])[0] / 100_000 if len(found[b"gAMA"]) == 4 else None


def names(data: bytes) -> set[str]:
    """The kinds of chunks in a PNG file; empty for other files."""
    return {kind.decode("latin-1") for kind, _, _ in chunks(data)} if data.startswith(SIGNATURE) else set()
