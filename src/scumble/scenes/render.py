"""The analytic, anti-aliased renderer: from a scene and a size to sRGB pixels, always the same.

Every shape is a signed distance (negative inside) in pixels; its coverage of a pixel is clip(1/2 - distance, 0, 1).
Shapes are folded by their symmetry, so that a star needs one edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .world import COLOURS, Scene, Thing

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]
Palette = Mapping[str, Sequence[float]]

PERIOD = 0.108
"""Distance between two stripes, or two dots."""

RIM = 0.02
"""Width of the plain rim around stripes and dots."""

GROUND: Palette = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (135, 135, 135),
    "sand": (232, 214, 170),
    "sky": (90, 160, 240),
    "haze": (216, 236, 250),
    "brick": (176, 104, 80),
    "mortar": (206, 192, 178),
}
PALETTE: Palette = {**COLOURS, **GROUND}
TWO_TONED = {"sky": ("sky", "haze"), "brick": ("brick", "mortar")}
OUTLINE = 0.25
"""Brightness of an outline, in that of the object's colour."""

NIGHT_GAIN = np.array((0.38, 0.43, 0.66), np.float32)
NIGHT_LIFT = np.array((4, 6, 30), np.float32)


def render(scene: Scene, size: int | tuple[int, int] = 128, *, palette: Palette = PALETTE) -> Pixels:
    """The picture of a scene.

    size: pixels of a square, or (height, width); 64 to 512 is what the world is made for.
    palette: other colours for the same names (training varies them a little).
    Returns uint8 (height, width, 3), sRGB. Raises ValueError for a side under 16 px.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 16:
        raise ValueError(f"a scene needs sides of 16 px or more, not {width}x{height}")
    if scene.ground:
        names = TWO_TONED.get(scene.background, (scene.background,))
        palette = {**palette, **dict(zip(names, scene.ground, strict=True))}
    picture = paint_background(scene.background, height, width, palette)
    for thing in scene.things:
        _paint(picture, thing, palette, scene.hard)
    return finish(picture, scene.look)


def finish(picture: Floats, look: str) -> Pixels:
    """Apply the global look and round to 8 bits."""
    if look == "night":
        picture = picture * NIGHT_GAIN + NIGHT_LIFT
    return np.rint(picture).astype(np.uint8)


def mask_of(thing: Thing, size: int | tuple[int, int] = 128) -> Floats:
    """How much of each pixel a thing covers: float32 (height, width) in [0, 1]."""
    height, width = (size, size) if isinstance(size, int) else size
    mask = np.zeros((height, width), np.float32)
    rows, columns, x, y, radius, _ = _window(thing, height, width)
    mask[rows, columns] = coverage(SHAPE[thing.shape](x, y, radius))
    return mask


def paint_background(name: str, height: int, width: int, palette: Palette = PALETTE) -> Floats:
    """The empty picture by day: float32 (height, width, 3) in 0..255."""
    unit = min(height, width)
    if name == "sky":
        down = (np.arange(height, dtype=np.float32) + 0.5)[:, None, None] / height
        top, low = _rgb(palette, "sky"), _rgb(palette, "haze")
        return np.broadcast_to(top + (low - top) * down, (height, width, 3)).copy()
    picture = np.broadcast_to(_rgb(palette, name), (height, width, 3)).astype(np.float32)
    if name == "brick":
        y = (np.arange(height, dtype=np.float32) + 0.5)[:, None]
        x = (np.arange(width, dtype=np.float32) + 0.5)[None, :]
        tall, wide, half = unit * 0.125, unit * 0.25, max(unit * 0.0125, 0.6)
        course = np.floor(y / tall)
        joint = np.minimum(_to_line(y, tall), _to_line(x + (course % 2) * wide / 2, wide)) - half
        mortar = coverage(joint)[..., None]
        picture += mortar * (_rgb(palette, "mortar") - picture)
    return picture


def _paint(picture: Floats, thing: Thing, palette: Palette, hard: bool) -> None:
    height, width = picture.shape[:2]
    rows, columns, x, y, radius, unit = _window(thing, height, width)
    distance = SHAPE[thing.shape](x, y, radius)
    cover = coverage(distance)
    paint = textured(thing, distance, x, y, unit, palette)
    if hard:
        cover = np.rint(cover)
    picture[rows, columns] += cover[..., None] * (paint - picture[rows, columns])


def textured(thing: Thing, distance: Floats, x: Floats, y: Floats, unit: int, palette: Palette) -> Floats:
    """The paint of each pixel: stripes and dots stay inside a plain rim, so that the outline is always the colour's."""
    colour = _rgb(palette, thing.colour) if thing.paint is None else np.asarray(thing.paint, np.float32)
    paint = _marked(thing, colour, distance, x, y, unit)
    if not thing.outline:
        return paint
    line = coverage(-distance - max(thing.outline * unit, 1.0))[..., None]
    return paint + line * (OUTLINE * colour - paint)


def _marked(thing: Thing, colour: Floats, distance: Floats, x: Floats, y: Floats, unit: int) -> Floats:
    """Stripes and dots on an object's colour."""
    if thing.texture == "plain":
        return colour
    period = (PERIOD if thing.grain is None else thing.grain) * unit
    if thing.texture == "striped":
        mark, other = np.abs(_to_line(y, period)) - period / 4, 0.35 * colour
    else:
        mark, other = (
            np.hypot(_to_line(x, period), _to_line(y, period)) - 0.3 * period,
            0.15 * colour + 0.85 * 255,
        )
    return colour + coverage(np.maximum(mark, distance + RIM * unit))[..., None] * (other - colour)


def _window(thing: Thing, height: int, width: int) -> tuple[slice, slice, Floats, Floats, float, int]:
    """The part of the picture a thing can touch, and pixel coordinates around its centre."""
    unit = min(height, width)
    cx, cy = (c * unit for c in thing.centre(width / height))
    reach = thing.reach * unit + 2
    rows = slice(max(int(cy - reach), 0), min(math.ceil(cy + reach), height))
    columns = slice(max(int(cx - reach), 0), min(math.ceil(cx + reach), width))
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - cy))[:, None]
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - cx))[None, :]
    if thing.turn:
        cos, sin = math.cos(math.radians(thing.turn)), math.sin(math.radians(thing.turn))
        x, y = np.float32(cos) * x + np.float32(sin) * y, np.float32(cos) * y - np.float32(sin) * x
    return rows, columns, x, y, thing.extent * unit, unit


def _to_line(u: Floats, period: float) -> Floats:
    """Distance to the nearest multiple of `period`."""
    return np.abs(u - period * np.rint(u / period))


def coverage(distance: Floats) -> Floats:
    """Share of each pixel inside the shape: distances are in pixels."""
    return np.clip(0.5 - distance, 0, 1)


def _rgb(palette: Palette, name: str) -> Floats:
    return np.asarray(palette[name], np.float32)


def _circle(x: Floats, y: Floats, r: float) -> Floats:
    return np.hypot(x, y) - r


def _square(x: Floats, y: Floats, r: float) -> Floats:
    return np.maximum(np.abs(x), np.abs(y)) - 0.89 * r


def _diamond(x: Floats, y: Floats, r: float) -> Floats:
    return (np.abs(x) + np.abs(y) - 1.25 * r) * math.sqrt(0.5)


def _triangle(x: Floats, y: Floats, r: float) -> Floats:
    # equilateral, circumradius 1.25 r, upright: the slanted side's normal is (cos 30, -sin 30)
    slant = math.cos(math.pi / 6) * np.abs(x) - 0.5 * y
    return np.maximum(slant, y) - 0.625 * r


def _star(x: Floats, y: Floats, r: float) -> Floats:
    outer, inner, wedge = 1.25 * r, 0.55 * r, math.pi / 5
    angle = np.abs((np.arctan2(x, -y) + wedge) % (2 * wedge) - wedge)  # five tips folded onto the upper one
    radius = np.hypot(x, y)
    px, py = radius * np.sin(angle), radius * np.cos(angle)
    ex, ey = inner * math.sin(wedge), inner * math.cos(wedge) - outer  # the edge, from tip to notch
    length = math.hypot(ex, ey)
    return (px * -ey + (py - outer) * ex) / length


def _heart(x: Floats, y: Floats, r: float) -> Floats:
    # a square on its corner and a half disc on each of its upper sides
    side = 1.12 * r
    x, y = np.abs(x), y - 0.05 * r
    half = side / 2
    body = (np.maximum(np.abs(x - y), np.abs(x + y)) * math.sqrt(0.5)) - half
    lobe = np.hypot(x - half * math.sqrt(0.5), y + half * math.sqrt(0.5)) - half
    return np.minimum(body, lobe)


def _cross(x: Floats, y: Floats, r: float) -> Floats:
    x, y = np.abs(x), np.abs(y)
    long, short = 1.1 * r, 0.38 * r
    return np.minimum(np.maximum(x - long, y - short), np.maximum(x - short, y - long))


def _ring(x: Floats, y: Floats, r: float) -> Floats:
    return np.abs(np.hypot(x, y) - 0.8 * r) - 0.28 * r


SHAPE = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "diamond": _diamond,
    "ring": _ring,
}
