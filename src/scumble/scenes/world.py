"""The words of the scenes world and what they mean in numbers.

A scene is a handful of named choices. Lengths are fractions of the shorter side of the picture, so that a scene is
the same scene at any size and aspect ratio; colours are sRGB in 0..255.

Every name has one canonical value, which the benchmark uses. A scene of the wide world (`wide.py`) also says its
exact values: `Thing.radius`, `Thing.paint`, `Scene.ground` and so on. None or empty means canonical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

Split = Literal["train", "validation", "test"]
Point = tuple[float, float]
RGB = tuple[float, float, float]

VERSION = 2
"""Of the world: pictures, words and seeds of one version are not those of another."""

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "ring")
COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (225, 35, 35),
        "orange": (245, 130, 25),
        "yellow": (245, 215, 35),
        "green": (40, 160, 55),
        "cyan": (45, 200, 210),
        "blue": (40, 80, 225),
        "purple": (135, 50, 180),
        "pink": (250, 145, 195),
    }
)
TEXTURES = ("plain", "striped", "dotted")
SIZES: Mapping[str, float] = MappingProxyType({"small": 0.105, "medium": 0.155, "large": 0.21})
PLACES: Mapping[str, Point] = MappingProxyType(
    {
        "left": (0.26, 0.5),
        "right": (0.74, 0.5),
        "top": (0.5, 0.26),
        "bottom": (0.5, 0.74),
        "centre": (0.5, 0.5),
    }
)
CORNERS: Mapping[str, Point] = MappingProxyType(
    {
        "top left": (0.26, 0.26),
        "top right": (0.74, 0.26),
        "bottom left": (0.26, 0.74),
        "bottom right": (0.74, 0.74),
    }
)
CELLS: Mapping[str, Point] = MappingProxyType({**PLACES, **CORNERS})
"""The nine named places, a grid over the picture. The benchmark uses only `PLACES`."""

BACKGROUNDS = ("white", "black", "grey", "sand", "sky", "brick")
GROUNDS = (*BACKGROUNDS, *COLOURS)
"""Every named background. The benchmark uses only `BACKGROUNDS`."""

LOOKS = ("day", "night")

# How far each shape reaches from its centre, in units of its size: shapes of one size look equally big.
REACH: Mapping[str, float] = MappingProxyType(
    {
        "circle": 1.0,
        "square": 1.26,
        "triangle": 1.25,
        "star": 1.25,
        "heart": 1.12,
        "cross": 1.17,
        "diamond": 1.25,
        "ring": 1.08,
    }
)
JITTER = 0.03
"""An object stands at its place, give or take this much in x and in y."""

GAP = 0.015
"""Free space between two objects' reaches."""

HELD_OUT = frozenset({("purple", "star"), ("cyan", "heart"), ("orange", "cross"), ("pink", "triangle")})
"""(colour, shape) pairs that never occur in the training split."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object: five named attributes and their exact values.

    dx, dy: offset from the named place. radius: None is the size's own. paint: None is the colour's own. turn: degrees,
    clockwise. outline: width of a dark line inside the edge. grain: distance between stripes or dots; None is
    `render.PERIOD`. vague: attributes whose value lies too near to another name's to be said in words.
    """

    shape: str
    colour: str
    texture: str = "plain"
    size: str = "medium"
    place: str = "centre"
    dx: float = 0.0
    dy: float = 0.0
    radius: float | None = None
    paint: RGB | None = None
    turn: float = 0.0
    outline: float = 0.0
    grain: float | None = None
    vague: tuple[str, ...] = ()

    def centre(self, aspect: float = 1.0) -> Point:
        """(x, y) in units of the shorter side; `aspect` is width / height of the picture."""
        x, y = CELLS[self.place]
        return x * max(aspect, 1.0) + self.dx, y * max(1.0 / aspect, 1.0) + self.dy

    @property
    def extent(self) -> float:
        """Its size in units of the shorter side: the exact one if it has one."""
        return SIZES[self.size] if self.radius is None else self.radius

    @property
    def reach(self) -> float:
        """Radius of the circle that holds it, in units of the shorter side."""
        return self.extent * REACH[self.shape]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What there is to see: things that do not overlap, one background, one global look.

    ground: the background's exact colours, empty for its own: one of a plain background, (top, bottom) of "sky",
    (brick, mortar) of "brick". hard: edges without anti-aliasing.
    """

    things: tuple[Thing, ...]
    background: str = "white"
    look: str = "day"
    ground: tuple[RGB, ...] = ()
    hard: bool = False


def fits(things: tuple[Thing, ...], aspect: float = 1.0) -> bool:
    """Whether no two things overlap on a picture of an aspect ratio (width / height).

    Canonical things that fit on a square also fit on any other picture: it only moves them apart.
    """
    for i, a in enumerate(things):
        for b in things[:i]:
            (ax, ay), (bx, by) = a.centre(aspect), b.centre(aspect)
            if np.hypot(ax - bx, ay - by) < a.reach + b.reach + GAP:
                return False
    return True


def generator(split: Split, seed: int) -> np.random.Generator:
    """The generator of one split: the three never share a seed."""
    return np.random.default_rng([("train", "validation", "test").index(split), seed])


def random_thing(rng: np.random.Generator, held_out: bool = False) -> Thing:
    """One object drawn uniformly; pairs of `HELD_OUT` only where `held_out` allows them."""
    while True:
        colour, shape = _pick(rng, tuple(COLOURS)), _pick(rng, SHAPES)
        if held_out or (colour, shape) not in HELD_OUT:
            break
    dx, dy = rng.uniform(-JITTER, JITTER, 2)
    return Thing(
        shape=shape,
        colour=colour,
        texture=_pick(rng, TEXTURES),
        size=_pick(rng, tuple(SIZES)),
        place=_pick(rng, tuple(PLACES)),
        dx=round(float(dx), 4),
        dy=round(float(dy), 4),
    )


def random_scene(rng: np.random.Generator, count: int | None = None, *, held_out: bool = False) -> Scene:
    """A scene of `count` things (None: one or two, equally often), at night in a fifth of all cases.

    Raises ValueError for a count the canvas has no room for.
    """
    if count is None:
        count = int(rng.integers(1, 3))
    if not 1 <= count <= 3:
        raise ValueError(f"a scene holds 1 to 3 things, not {count}")
    while True:  # draw all things anew: keeps their joint distribution symmetric
        things = tuple(random_thing(rng, held_out) for _ in range(count))
        if fits(things) and len({(t.shape, t.colour) for t in things}) == count:
            break
    background = _pick(rng, BACKGROUNDS)
    return Scene(things=things, background=background, look="night" if rng.random() < 0.2 else "day")


def scenes(split: Split, seed: int = 0, count: int | None = None) -> Iterator[Scene]:
    """An endless stream of scenes of one split."""
    rng = generator(split, seed)
    while True:
        yield random_scene(rng, count, held_out=split == "test")


def _pick(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]
