"""Contact sheets, comparisons and films. The same input gives the same pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError
from scumble.pictures import lettering
from scumble.pictures.lettering import line_height

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

PAPER, INK, FAINT, MARK = "#f4f3f0", "#1d1d1f", "#63636a", "#c2410c"
CHEQUER = "#ffffff", "#d4d4d8"  # what shows through transparency
MARGIN, GAP, FRAME = 16, 8, 4  # pixels
TEXT, SMALL, TITLE = 15, 12, 19  # pixels
NARROWEST = 256  # pixels: a label that is wrapped further is no longer read
COLUMNS = 1.4  # a sheet's width over its height, where its columns are not given
MANY = 100  # cells; more of them are drawn at half the size
FILMS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
REST, TICK = 1200, 80  # ms that a film stays on its first and last frame, and on any other
# Differences 0 to 255 on a logarithmic scale. Zero alone is black: equal pixels look unlike nearly equal ones.
RAMP = (45, 10, 90), (137, 28, 110), (205, 62, 78), (247, 150, 40), (252, 255, 170)
TICKS = 0, 1, 3, 7, 15, 31, 63, 255


@dataclass(frozen=True)
class Cell:
    """A picture of a contact sheet, the lines below it (the first is emphasised), and whether it has a frame."""

    picture: Image.Image
    lines: Sequence[str]
    mark: bool = False


def sheet(cells: Sequence[Cell], columns: int | None = None, title: str = "", note: str = "") -> Image.Image:
    """A contact sheet, row by row, `title` above and `note` below. Small pictures are enlarged by whole factors,
    large ones reduced.
    """
    least = 200 if len(cells) <= MANY else 100
    shown = [Cell(_flat(panel(c.picture, least, 2 * least)), c.lines, c.mark) for c in cells]
    return _draw(shown, columns, title, note)


def blank() -> Cell:
    """An empty cell."""
    from PIL import Image

    return Cell(Image.new("RGB", (1, 1), PAPER), ())


def compare(before: Image.Image, after: Image.Image, source: str, target: str) -> Image.Image:
    """Before, after and their difference, each panel 512 to 1024 pixels long, with the prompts below.

    A pixel's difference is the largest of its channels, in 8-bit steps. Wide pictures are stacked vertically.
    """
    steps = difference(before, after)
    share = float((steps > 0).mean())
    caption = (
        f"{percent(share)} of the pixels differ, by {steps.max()} of 255 at most" if share else "none at all"
    )
    width, height = before.size
    cells = [
        Cell(_flat(panel(before, 512, 1024)), ["before", source]),
        Cell(_flat(panel(after, 512, 1024)), ["after", target]),
        Cell(_heat(steps), ["difference in 8-bit steps; black: equal", caption]),
    ]
    return _draw(cells, 1 if width > 2 * height else 3)


def film(frames: Sequence[Image.Image], path: Path, *, replace: bool = True) -> None:
    """Write an animated GIF, WebP or PNG, by the suffix of `path`. It loops and pauses on its first and last frame.

    Frames are scaled by `panel(frame, 256, 512)`. Callers may do this themselves to save memory.

    Raises:
        InputError: another suffix.
        FileExistsError: the file exists by now, and `replace` is False.
    """
    from scumble.core.atomic import atomic

    kind = FILMS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: a film's name must end in {', '.join(FILMS)}")
    first, *others = [_flat(panel(frame, 256, 512)) for frame in frames]
    durations = [REST, *[TICK] * (len(others) - 1), REST] if others else REST
    options: dict[str, Any] = {"optimize": True} if kind == "GIF" else {}
    with atomic(path, replace=replace) as temporary:
        first.save(
            temporary, kind, save_all=True, append_images=others, duration=durations, loop=0, **options
        )


def difference(before: Image.Image, after: Image.Image) -> np.ndarray:
    """(h, w) uint8: the largest difference of each pixel's channels, in 8-bit steps."""
    import numpy as np
    from PIL import ImageChops

    return np.asarray(ImageChops.difference(before.convert("RGB"), after.convert("RGB"))).max(axis=2)


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage that never rounds more than nothing to 0, or less than all to 100."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{min(100 * share, 99.9) if share < 1 else 100:.1f} %"


def panel(picture: Image.Image, least: int, most: int) -> Image.Image:
    """The picture scaled so that its long side is between `least` and `most` pixels, where most >= 2 least: enlarged by
    a whole factor, unchanged or reduced.
    """
    from PIL import Image

    long = max(picture.size)
    if long > most:
        size = _reduced(picture.size, most)
        return picture.resize(size, Image.Resampling.LANCZOS)
    factor = math.ceil(least / long)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _reduced(size: tuple[int, int], most: int) -> tuple[int, int]:
    width, height = (max(1, round(side * most / max(size))) for side in size)
    return width, height


def _flat(picture: Image.Image) -> Image.Image:
    """The picture as RGB, with a chequerboard behind transparent pixels."""
    from PIL import Image, ImageDraw

    if not picture.has_transparency_data:
        return picture.convert("RGB")
    below, side = Image.new("RGB", picture.size, CHEQUER[0]), 16
    draw = ImageDraw.Draw(below)
    for top in range(0, picture.height, side):
        for left in range(top % (2 * side), picture.width, 2 * side):
            draw.rectangle((left, top, left + side - 1, top + side - 1), fill=CHEQUER[1])
    rgba = picture.convert("RGBA")
    below.paste(rgba, (0, 0), rgba)
    return below


# The difference ------------------------------------------------------------------------------------------


def _heat(steps: np.ndarray) -> Image.Image:
    """Differences (h, w) as colours, above their scale. Reducing keeps the maximum, so single pixels stay visible."""
    import numpy as np
    from PIL import Image, ImageDraw

    height, width = steps.shape
    if max(steps.shape) > 1024:
        size = _reduced((width, height), 1024)
        rows, columns = (np.arange(n) * side // n for n, side in ((size[1], height), (size[0], width)))
        steps = np.maximum.reduceat(np.maximum.reduceat(steps, rows, axis=0), columns, axis=1)
    heat = panel(Image.fromarray(_colours()[steps]), 512, 1024)
    wide = max(heat.width, NARROWEST)
    bar = 2 ** (8 * np.arange(wide) / (wide - 1)) - 1
    scale = Image.fromarray(np.broadcast_to(_colours()[bar.round().astype(int)], (12, wide, 3)).copy())
    made = Image.new("RGB", (wide, heat.height + GAP + 12 + 18), PAPER)
    made.paste(heat, (0, 0))
    made.paste(scale, (0, heat.height + GAP))
    draw = ImageDraw.Draw(made)
    for value in TICKS:
        place = math.log2(1 + value) / 8
        anchor = "lt" if place == 0 else "rt" if place == 1 else "mt"
        draw.text(
            (place * wide, heat.height + GAP + 16), str(value), FAINT, lettering.font(SMALL), anchor=anchor
        )
    return made


@cache
def _colours() -> np.ndarray:
    """(256, 3) uint8: the colour of each difference."""
    import numpy as np

    place = np.log2(1 + np.arange(256)) / 8 * (len(RAMP) - 1)
    table = np.stack([np.interp(place, range(len(RAMP)), channel) for channel in zip(*RAMP, strict=True)], -1)
    table[0] = 0
    return table.round().astype(np.uint8)


# Layout --------------------------------------------------------------------------------------------------


def _draw(cells: Sequence[Cell], columns: int | None, title: str = "", note: str = "") -> Image.Image:
    """The cells' pictures at their own size, each with its lines below, in `columns` columns."""
    from PIL import Image, ImageDraw

    width = max(NARROWEST, *(cell.picture.width for cell in cells))
    labels = [_label(cell.lines, width) for cell in cells]
    heights = [
        cell.picture.height + GAP + line_height(TEXT) * len(label)
        for cell, label in zip(cells, labels, strict=True)
    ]
    columns = columns or _columns(len(cells), width + MARGIN, max(heights) + MARGIN)
    columns = min(columns, len(cells))
    whole = MARGIN + columns * (width + MARGIN)
    head = lettering.wrap(title, whole - 2 * MARGIN, TITLE)
    codes = lettering.note([title, *(line for cell in cells for line in cell.lines)])
    foot = [line for text in (note, codes) for line in lettering.wrap(text, whole - 2 * MARGIN, SMALL)]
    tops = [MARGIN + line_height(TITLE) * len(head) + (GAP if head else 0)]
    for first in range(0, len(cells), columns):
        tops.append(tops[-1] + max(heights[first : first + columns]) + MARGIN)

    made = Image.new("RGB", (whole, tops[-1] + (line_height(SMALL) * len(foot) + GAP if foot else 0)), PAPER)
    draw = ImageDraw.Draw(made)
    _write(draw, MARGIN, MARGIN, [(line, INK) for line in head], TITLE)
    _write(draw, MARGIN, tops[-1] - 2, [(line, FAINT) for line in foot], SMALL)
    for i, (cell, label) in enumerate(zip(cells, labels, strict=True)):
        left, top = MARGIN + i % columns * (width + MARGIN), tops[i // columns]
        right, bottom = left + cell.picture.width, top + cell.picture.height
        if cell.mark:
            draw.rectangle((left - FRAME, top - FRAME, right + FRAME - 1, bottom + FRAME - 1), fill=MARK)
        made.paste(cell.picture, (left, top))
        _write(draw, left, bottom + GAP, label, TEXT)
    return made


def _columns(cells: int, width: int, height: int) -> int:
    """The number of columns that brings the sheet closest to its usual shape with few empty cells."""

    def miss(columns: int) -> float:
        rows = math.ceil(cells / columns)
        empty = 1 - cells / (rows * columns)
        return abs(math.log(columns * width / (rows * height) / COLUMNS)) + 2 * empty

    return min(range(1, cells + 1), key=miss)


def _label(lines: Sequence[str], width: int) -> list[tuple[str, str]]:
    """All lines below a picture, as (line, colour)."""
    pieces: list[tuple[str, str]] = []
    for i, line in enumerate(lines):
        pieces += [(piece, INK if i == 0 else FAINT) for piece in lettering.wrap(line, width, TEXT)]
    return pieces


def _write(draw: Any, left: int, top: int, lines: Sequence[tuple[str, str]], size: int) -> None:
    for i, (line, colour) in enumerate(lines):
        draw.text((left, top + i * line_height(size)), line, colour, lettering.font(size), anchor="la")
