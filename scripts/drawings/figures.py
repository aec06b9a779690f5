"""Drawings as data, and the geometry of their shapes: what every program draws alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

RGB = tuple[int, int, int]
Point = tuple[float, float]

REACH = {
    "circle": 1.0,
    "square": 1.26,
    "triangle": 1.3,
    "star": 1.3,
    "heart": 1.2,
    "cross": 1.2,
    "diamond": 1.35,
    "ring": 1.1,
}
"""How far a shape of radius 1 reaches from its centre, at most. Shapes of one radius look about equally big."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One shape. Lengths are in pixels.

    proportion: 0 to 1, where the shape's own proportions lie between two that people draw: the depth of a star's
    notches, the thickness of a cross or a ring. turn: degrees, clockwise. outline: width of a line around it.
    """

    shape: str
    name: str
    colour: RGB
    centre: Point
    radius: float
    proportion: float = 0.5
    turn: float = 0.0
    outline: int = 0
    ink: RGB = (20, 20, 20)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture of `size` (width, height): a plain ground or a gradient from top to bottom, and figures on it."""

    size: tuple[int, int]
    ground: tuple[RGB, ...]
    name: str
    figures: tuple[Figure, ...]
    hard: bool = False


@dataclass(frozen=True)
class Disc:
    centre: Point
    radius: float


@dataclass(frozen=True)
class Ring:
    centre: Point
    radius: float  # of the middle of the line
    width: float


@dataclass(frozen=True)
class Polygon:
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Curve:
    """A closed path of cubic Bezier pieces: (control, control, end) each."""

    start: Point
    pieces: tuple[tuple[Point, Point, Point], ...] = field(default=())

    def flat(self, per_piece: int = 24) -> tuple[Point, ...]:
        """The path as a polygon, for programs that know no curves."""
        points: list[Point] = []
        last = self.start
        for a, b, end in self.pieces:
            for k in range(per_piece):
                t = k / per_piece
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                corners = (last, a, b, end)
                x, y = (sum(w * c[i] for w, c in zip(weights, corners, strict=True)) for i in (0, 1))
                points.append((x, y))
            last = end
        return tuple(points)


Geometry = Disc | Ring | Polygon | Curve


def geometry(figure: Figure) -> Geometry:
    """What there is to draw, in pixels of the picture."""
    r, p = figure.radius, figure.proportion
    if figure.shape == "circle":
        return Disc(figure.centre, r)
    if figure.shape == "ring":
        width = r * (0.4 + 0.3 * p)
        return Ring(figure.centre, 1.08 * r - width / 2, width)
    cos, sin = math.cos(math.radians(figure.turn)), math.sin(math.radians(figure.turn))

    def placed(point: Point) -> Point:
        x, y = point
        return figure.centre[0] + r * (cos * x - sin * y), figure.centre[1] + r * (sin * x + cos * y)

    if figure.shape == "heart":
        start, pieces = _heart(p)
        return Curve(placed(start), tuple((placed(a), placed(b), placed(c)) for a, b, c in pieces))
    return Polygon(tuple(map(placed, POINTS[figure.shape](p))))


def _square(p: float) -> list[Point]:
    a = 0.89
    return [(-a, -a), (a, -a), (a, a), (-a, a)]


def _triangle(p: float) -> list[Point]:
    wide = 1.0 + 0.2 * p  # from somewhat steep to somewhat flat
    return [(0, -1.2), (wide, 0.68), (-wide, 0.68)]


def _star(p: float) -> list[Point]:
    inner = 1.25 * (0.382 + 0.12 * p)  # 0.382: the pentagram's own
    radii = [1.25 if k % 2 == 0 else inner for k in range(10)]
    return [(r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5)) for k, r in enumerate(radii)]


def _cross(p: float) -> list[Point]:
    a, b = 1.08, 0.3 + 0.14 * p
    arm = [(b, -a), (b, -b), (a, -b)]  # and on, a quarter turn at a time
    half = [*arm, *((-y, x) for x, y in arm)]
    return [*half, *((-x, -y) for x, y in half)]


def _diamond(p: float) -> list[Point]:
    wide = 1.0 + 0.2 * p
    return [(0, -1.28), (wide, 0), (0, 1.28), (-wide, 0)]


def _heart(p: float) -> tuple[Point, list[tuple[Point, Point, Point]]]:
    notch = -0.52 - 0.16 * p
    right: list[tuple[Point, Point, Point]] = [
        ((0.35, 0.62), (1.08, 0.2), (1.08, -0.36)),
        ((1.08, -0.76), (0.82, -0.98), (0.54, -0.98)),
        ((0.28, -0.98), (0.08, -0.82), (0.0, notch)),
    ]
    left: list[tuple[Point, Point, Point]] = [
        ((-0.08, -0.82), (-0.28, -0.98), (-0.54, -0.98)),
        ((-0.82, -0.98), (-1.08, -0.76), (-1.08, -0.36)),
        ((-1.08, 0.2), (-0.35, 0.62), (0.0, 0.95)),
    ]
    return (0.0, 0.95), right + left


POINTS: dict[str, Callable[[float], list[Point]]] = {
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "diamond": _diamond,
}
