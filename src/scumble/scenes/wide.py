"""The wide world: scenes closer to what people draw with any program.

Sizes are continuous, objects are anywhere, colours vary around their names, backgrounds may have plain colours, and
pictures any aspect ratio. A name is used only if it clearly applies (`Thing.vague`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from .render import GROUND
from .world import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    GROUNDS,
    REACH,
    RGB,
    SIZES,
    Scene,
    Split,
    Thing,
    fits,
    generator,
    random_scene,
)

SMALLEST, LARGEST = 0.08, 0.33
"""Range of an object's radius, in units of the shorter side."""

GRAIN = 0.095, 0.16
"""Range of the distance between stripes or dots, in units of the shorter side."""

WIDEST = 3.0
"""Largest ratio of the long to the short side."""

SMALLEST_SEEN = 0.06
"""Least radius on a square canvas, in units of its side: smaller, and 128 px do not show what it is."""

LIKELY = {"white": 4.0, "black": 1.5}
"""How much more often than other backgrounds people draw on these."""

CONTRAST = 70.0
"""Least distance between an object's colour and its background's, in 0..255 RGB."""

# What people and programs call by these names: CSS colours, the palettes of plotting and drawing programs.
KNOWN_AS: Mapping[str, tuple[RGB, ...]] = {
    "red": ((255, 0, 0), (214, 39, 40), (244, 67, 54), (200, 20, 40), (231, 76, 60)),
    "orange": ((255, 165, 0), (255, 127, 14), (255, 140, 0), (255, 152, 0), (230, 126, 34)),
    "yellow": ((255, 255, 0), (255, 235, 59), (241, 196, 15), (250, 225, 80), (255, 215, 0)),
    "green": ((0, 128, 0), (0, 255, 0), (44, 160, 44), (76, 175, 80), (46, 204, 113), (34, 139, 34)),
    "cyan": ((0, 255, 255), (0, 188, 212), (23, 190, 207), (64, 224, 208), (0, 206, 209)),
    "blue": ((0, 0, 255), (31, 119, 180), (33, 150, 243), (65, 105, 225), (30, 60, 160)),
    "purple": ((128, 0, 128), (148, 103, 189), (156, 39, 176), (155, 89, 182), (106, 13, 173)),
    "pink": ((255, 192, 203), (255, 105, 180), (227, 119, 194), (244, 143, 177), (240, 98, 146)),
}


def wide_scenes(split: Split, seed: int = 0, count: int | None = None) -> Iterator[tuple[Scene, float]]:
    """An endless stream of (scene, aspect ratio of its picture, width / height) of one split."""
    rng = generator(split, seed)
    while True:
        aspect = random_aspect(rng)
        yield random_wide_scene(rng, count, aspect=aspect, held_out=split == "test"), aspect


def random_aspect(rng: np.random.Generator) -> float:
    """Width / height: square in 40 % of all cases, else up to `WIDEST` to 1, either way up."""
    if rng.random() < 0.4:
        return 1.0
    return float(np.exp(np.log(WIDEST) * rng.uniform(0, 1) ** 1.5 * rng.choice((-1, 1))))


def random_wide_scene(
    rng: np.random.Generator, count: int | None = None, *, aspect: float = 1.0, held_out: bool = False
) -> Scene:
    """A scene of the wide world with `count` things (None: one or two, equally often)."""
    count = int(rng.integers(1, 3)) if count is None else count
    while True:
        names = random_scene(rng, count, held_out=held_out)
        background = GROUNDS[int(rng.choice(len(GROUNDS), p=_CHANCE))]
        ground = _ground(rng, background)
        outlined = rng.random() < 0.15
        things = tuple(_thing(rng, t, aspect, outlined) for t in names.things)
        if fits(things, aspect) and all(_shows(t, ground) for t in things):
            break
    look = names.look if background in BACKGROUNDS and rng.random() < 0.5 else "day"
    hard = bool(rng.random() < 0.15)
    return replace(names, things=things, background=background, look=look, ground=ground, hard=hard)


_WEIGHT = np.array([LIKELY.get(name, 1.0) for name in GROUNDS])
_CHANCE = _WEIGHT / _WEIGHT.sum()


def _thing(rng: np.random.Generator, thing: Thing, aspect: float, outlined: bool) -> Thing:
    """A named thing with exact values of its own: radius, centre, colour, turn, texture's grain."""
    wide, tall = max(aspect, 1.0), max(1 / aspect, 1.0)
    least = max(SMALLEST, SMALLEST_SEEN * max(wide, tall))
    radius = float(np.exp(rng.uniform(float(np.log(least)), float(np.log(LARGEST)))))
    reach = radius * REACH[thing.shape]
    inside = min(reach + 0.02, 0.5)
    x, y = rng.uniform(inside, wide - inside), rng.uniform(inside, tall - inside)
    return with_names(
        replace(
            thing,
            radius=round(radius, 4),
            paint=random_paint(rng, thing.colour),
            turn=round(float(rng.uniform(-12, 12)), 1) if rng.random() < 0.3 else 0.0,
            outline=round(float(rng.uniform(0.008, 0.025)), 4) if outlined else 0.0,
            grain=round(min(float(rng.uniform(*GRAIN)), 0.8 * radius), 4)
            if thing.texture != "plain"
            else None,
        ),
        (float(x), float(y)),
        aspect,
    )


def with_names(thing: Thing, centre: tuple[float, float], aspect: float) -> Thing:
    """The thing at a centre (units of the shorter side), its size and place named, what is in doubt marked vague.

    A picture that is not square stands on a square canvas when a model sees it, and there its objects are smaller and
    nearer to the middle. A name is beyond doubt where it holds on both, and not close to the next one.
    """
    wide, tall = max(aspect, 1.0), max(1 / aspect, 1.0)
    long = max(wide, tall)
    radius = thing.extent
    size = _size(radius)
    seen = (centre[0] / wide, centre[1] / tall)
    on_canvas = tuple(0.5 + (f - 0.5) * side / long for f, side in zip(seen, (wide, tall), strict=True))
    column, row = _third(seen[0]), _third(seen[1])
    sure_place = all(_third(f + d) == _third(f) for f in seen for d in (-0.03, 0.03))
    sure_place &= tuple(map(_third, on_canvas)) == (column, row)
    sure_size = size == _size(radius * 1.06) == _size(radius / 1.06) == _size(radius / long)
    place = _CELL[column, row]
    px, py = CELLS[place]
    return replace(
        thing,
        size=size,
        place=place,
        dx=round(centre[0] - px * wide, 4),
        dy=round(centre[1] - py * tall, 4),
        vague=(() if sure_size else ("size",)) + (() if sure_place else ("place",)),
    )


def _size(radius: float) -> str:
    return min(SIZES, key=lambda name: abs(SIZES[name] - radius))


def _third(fraction: float) -> int:
    """0, 1 or 2: the third of a side that a named place covers; the borders lie half way between the places."""
    return 0 if fraction < 0.38 else 1 if fraction < 0.62 else 2


_CELL = {(_third(x), _third(y)): name for name, (x, y) in CELLS.items()}


def random_paint(rng: np.random.Generator, colour: str) -> RGB:
    """A colour that goes by a name: the canonical one, one known by the name, or between them; always a little off."""
    base = np.asarray(COLOURS[colour], np.float64)
    if rng.random() < 0.6:
        other = np.asarray(KNOWN_AS[colour][int(rng.integers(len(KNOWN_AS[colour])))], np.float64)
        base = other if rng.random() < 0.5 else base + rng.uniform() * (other - base)
    return _rgb(base + rng.normal(0, 5, 3))


def _ground(rng: np.random.Generator, name: str) -> tuple[RGB, ...]:
    """The exact colours of a background that goes by a name."""
    if name == "white":
        return (_rgb(rng.uniform(235, 255) + rng.normal(0, 2, 3)) if rng.random() < 0.6 else (255, 255, 255),)
    if name == "black":
        return (_rgb(rng.uniform(0, 25) + rng.normal(0, 3, 3)) if rng.random() < 0.6 else (0, 0, 0),)
    if name == "grey":
        return (_rgb(rng.uniform(100, 185) + rng.normal(0, 3, 3)),)
    if name == "sand":
        return (_rgb(np.asarray(GROUND["sand"]) + rng.uniform(-14, 14) + rng.normal(0, 6, 3)),)
    if name == "sky":
        top = np.asarray(GROUND["sky"]) + rng.uniform(-20, 35) * np.array((1, 0.6, 0.1))
        low = top + rng.uniform(0, 1.1) * (np.asarray(GROUND["haze"]) - top)  # some skies hardly fade
        return _rgb(top + rng.normal(0, 6, 3)), _rgb(low + rng.normal(0, 6, 3))
    if name == "brick":
        shift = rng.uniform(-15, 15)
        return tuple(_rgb(np.asarray(GROUND[n]) + shift + rng.normal(0, 6, 3)) for n in ("brick", "mortar"))
    paint = np.asarray(random_paint(rng, name))
    return (_rgb(paint + rng.uniform(0, 0.35) * (255 - paint)),)  # backgrounds are often paler


def _shows(thing: Thing, ground: tuple[RGB, ...]) -> bool:
    return all(
        np.linalg.norm(np.subtract(thing.paint or COLOURS[thing.colour], g)) > CONTRAST for g in ground
    )


def _rgb(values: np.ndarray) -> RGB:
    r, g, b = (int(v) for v in np.rint(np.clip(values, 0, 255)))
    return r, g, b
