"""The words of the scenes world and what they mean in numbers.

A scene is a handful of named choices. Lengths are fractions of the shorter side of the picture, so that a scene is
the same scene at any size and aspect ratio; colours are sRGB in 0..255.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

Split = Literal["train", "validation", "test"]
Point = tuple[float, float]

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
BACKGROUNDS = ("white", "black", "grey", "sand", "sky", "brick")
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
    """One object: five named attributes and its exact offset (dx, dy) from the named place."""

    shape: str
    colour: str
    texture: str = "plain"
    size: str = "medium"
    place: str = "centre"
    dx: float = 0.0
    dy: float = 0.0

    def centre(self, aspect: float = 1.0) -> Point:
        """(x, y) in units of the shorter side; `aspect` is width / height of the picture."""
        x, y = PLACES[self.place]
        return x * max(aspect, 1.0) + self.dx, y * max(1.0 / aspect, 1.0) + self.dy

    @property
    def reach(self) -> float:
        """Radius of the circle that holds it, in units of the shorter side."""
        return SIZES[self.size] * REACH[self.shape]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What there is to see: things that do not overlap, one background, one global look."""

    things: tuple[Thing, ...]
    background: str = "white"
    look: str = "day"


def fits(things: tuple[Thing, ...]) -> bool:
    """Whether no two things overlap on a square picture (any other aspect ratio only moves them apart)."""
    for i, a in enumerate(things):
        for b in things[:i]:
            (ax, ay), (bx, by) = a.centre(), b.centre()
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
