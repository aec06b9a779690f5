"""Text in pictures, in any script: wrapped into lines, with substitutes for characters that the font lacks."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

from scumble.core.errors import InputError

FONT = (
    "SCUMBLE_FONT"  # the environment variable that names a font file; default: the font that Pillow carries
)
NOTE = f"Letters that the font lacks are written as their codes; {FONT}=FILE.ttf names another font."
LONGEST = 12  # lines of one text; what is longer ends in dots


def font(size: int) -> Any:
    """Pillow's font, `size` pixels high, or the one that SCUMBLE_FONT names. Raises InputError if it names no font."""
    return _load(os.environ.get(FONT), size)


def line_height(size: int) -> int:
    """The distance from one line of text to the next, in pixels."""
    return round(1.35 * size)


def wrap(text: str, width: int, size: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken between words, and inside words that are longer than a line.

    Any white space can break a line. Letters that the font lacks lose their accents or become their code points.
    """
    fits = font(size).getlength
    lines = [""]
    for word in unicodedata.normalize("NFC", text[: LONGEST * width]).split():
        letters = [_letter(c) for c in word]
        joined = f"{lines[-1]} {''.join(letters)}".lstrip()
        if fits(joined) <= width:
            lines[-1] = joined
            continue
        lines.append("")
        for letter in letters:
            if lines[-1] and fits(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    lines = [line for line in lines if line]
    return lines if len(lines) <= LONGEST else [*lines[: LONGEST - 1], lines[LONGEST - 1][:-2] + "..."]


def note(texts: Iterable[str]) -> str:
    """The note that explains code points in these texts; empty if there are none."""
    codes = (c != "\\" and _letter(c).startswith("\\") for text in texts for c in "".join(text.split()))
    return NOTE if any(codes) else ""


def _letter(c: str) -> str:
    """The character, or its substitute if the font lacks it."""
    return _stand_in(os.environ.get(FONT), c)


@cache
def _stand_in(file: str | None, c: str) -> str:
    base = "".join(d for d in unicodedata.normalize("NFKD", c) if not unicodedata.combining(d))
    for letters in (c, base):
        if letters.isprintable() and all(_has(file, d) for d in letters):
            return letters  # none at all for an accent without its letter
    return c.encode("unicode_escape").decode()


@cache
def _has(file: str | None, c: str) -> bool:
    """Whether the font has c: it draws it differently from a character that no font has."""
    drawn, lacking = (_load(file, 16).getmask(x) for x in (c, "\uffff"))
    return (drawn.size, bytes(drawn)) != (lacking.size, bytes(lacking))


@cache
def _load(file: str | None, size: int) -> Any:
    from PIL import ImageFont

    if not file:
        return ImageFont.load_default(size=size)
    try:
        return ImageFont.truetype(file, size)
    except OSError as error:
        raise InputError(f"{FONT}: {file} is not a font that can be read ({error}); name another") from error
