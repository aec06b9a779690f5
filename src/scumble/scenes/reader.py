"""Reads a picture back into a scene, by synthesis and without a network.

The background is the empty picture that agrees with most pixels. The remaining pixels form connected parts. Every
shape is fitted to each part with the renderer's own distance functions; the smallest error gives the reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np

from scumble.core.connected import Bools, Labels

from ._fit import INKS, Guess, View, best_fit
from ._parts import parts_of, pieces_of
from .grammar import ATTRIBUTES
from .render import NIGHT_GAIN, NIGHT_LIFT, PALETTE, Floats, Pixels, paint_background, render
from .wide import KNOWN_AS
from .world import BACKGROUNDS, COLOURS, GROUNDS, LOOKS, PLACES, RGB, SIZES, Point, Scene, Thing

CLEAR = 0.8
"""An object whose fit is below this is not one of the world's, or not clearly."""

STRAY = 0.02
"""More of a picture than this has to be explained."""

WAY = 0.35
"""An object's pixels are at least this much farther from the background than from a paint: washed-out ones too."""

LEAST_CONTRAST = 22.0
"""And this far from the background, in 0..255 by day."""

LEAST_FIT = 0.3
"""A part of which no shape explains even this much is stray."""

OFF = 18.0
"""A mean difference from every canonical background above this (of at most 30): it is a plain one of another tone."""

MOST = 3
"""A scene holds no more things than this."""

SHORT = 128
"""Pictures whose shorter side is twice this or more are read at a whole fraction of their size."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a picture shows.

    scene: the nearest named values, each thing with its offset from the named place.
    residual: root mean square of picture minus the re-rendered scene, in 0..255.
    fits: for each thing the share of its contrast to the background that its best shape explains, at the size
        it really has: 1 is perfect, below `CLEAR` it is not clearly any object of the world.
    stray: share of the picture that is neither background nor one of these things.
    """

    scene: Scene
    residual: float
    fits: tuple[float, ...]
    stray: float

    @property
    def clear(self) -> bool:
        """Whether every object is clearly one of the world's, and there is nothing else."""
        return all(fit >= CLEAR for fit in self.fits) and self.stray <= STRAY


class _Found(NamedTuple):
    guess: Guess
    fit: float
    part: int


def read_picture(pixels: Pixels, places: Mapping[str, Point] = PLACES) -> Reading:
    """The scene a picture shows, named by the nearest values of the world.

    pixels: uint8 (height, width, 3), sRGB; 64 to 512 px is what the reader is made for.
    places: the names that a place may get: the canonical ones, or `world.CELLS`, which has corners.
    Raises ValueError for another type or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < 16:
        raise ValueError(
            f"a picture is uint8 (height, width, 3), 16 px or more, not {pixels.dtype} {pixels.shape}"
        )
    factor = max(min(pixels.shape[:2]) // SHORT, 1)
    small = _shrink(pixels, factor)
    background, look, ground = _setting(small)
    view = _view(small, background, look, ground)
    mask = _foreground(view, background)
    labels = parts_of(mask)
    found = [f for k in range(1, labels.max() + 1) for f in _objects(view, labels, k)]
    found = sorted((f for f in found if f.fit >= LEAST_FIT), key=lambda f: -f.guess.pose.radius)[:MOST]
    height, width = pixels.shape[:2]
    things = tuple(_named(f.guess, factor, height, width, places) for f in found)
    scene = Scene(things=things, background=background, look=look)
    gap = render(scene, pixels.shape[:2]).astype(np.float32) - pixels
    return Reading(
        scene=scene,
        residual=float(np.sqrt(np.mean(gap * gap))),
        fits=tuple(f.fit for f in found),
        stray=float(np.mean(mask & ~np.isin(labels, [f.part for f in found]))),
    )


def mistakes(truth: Scene, seen: Scene) -> tuple[str, ...]:
    """The attributes that two scenes do not share, things paired so that they share most; vague ones of truth excepted.

    Each thing has the five of `grammar.ATTRIBUTES`, each scene "background" and "look"; where the numbers of
    things differ, every attribute of every true thing counts, and "count".
    """
    wrong = [a for a in ("background", "look") if getattr(truth, a) != getattr(seen, a)]
    if len(truth.things) != len(seen.things):
        return (*wrong, *ATTRIBUTES * len(truth.things), "count")
    pairings = (zip(truth.things, order, strict=True) for order in permutations(seen.things))
    differ = (
        [n for a, b in pairs for n in ATTRIBUTES if n not in a.vague and getattr(a, n) != getattr(b, n)]
        for pairs in pairings
    )
    return (*wrong, *min(differ, key=len))


def _shrink(pixels: Pixels, factor: int) -> Floats:
    """Means over squares of factor x factor pixels."""
    height, width = (side // factor for side in pixels.shape[:2])
    picture = pixels[: height * factor, : width * factor].astype(np.float32)
    if factor == 1:
        return picture
    return picture.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))


_SETTINGS = [(b, k) for b in GROUNDS for k in LOOKS if b in BACKGROUNDS or k == "day"]


@lru_cache(maxsize=8)
def _empty(height: int, width: int) -> Floats:
    """All backgrounds under all their looks, every other pixel: (n, height / 2, width / 2, 3)."""
    views = [_lit(paint_background(b, height, width)[::2, ::2], k) for b, k in _SETTINGS]
    return np.stack(views)


def _lit(picture: Floats, look: str) -> Floats:
    return picture * NIGHT_GAIN + NIGHT_LIFT if look == "night" else picture


def _setting(picture: Floats) -> tuple[str, str, RGB | None]:
    """The background and look that most pixels agree with: no pixel counts more than a difference of 30.

    Where none agrees, the third is the colour of the picture's border, and the background the nearest named one.
    """
    empty = _empty(*picture.shape[:2])
    apart = np.abs(empty - picture[::2, ::2]).max(axis=3)
    off = np.minimum(apart, 30).mean(axis=(1, 2))
    best = int(off.argmin())
    if off[best] <= OFF:
        return *_SETTINGS[best], None
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    tone = np.median(border, axis=0)
    named = [
        *((b, PALETTE[b]) for b in GROUNDS),
        *((n, rgb) for n, known in KNOWN_AS.items() for rgb in known),
    ]
    background = min(named, key=lambda item: float(np.linalg.norm(tone - item[1])))[0]
    r, g, b = tone.tolist()
    return ("grey" if background == "brick" else background), "day", (r, g, b)  # one tone is no pattern


def _view(picture: Floats, background: str, look: str, tone: RGB | None) -> View:
    gain, lift = np.ones(3, np.float32), np.zeros(3, np.float32)
    if look == "night":
        gain, lift = NIGHT_GAIN, NIGHT_LIFT
    inks = np.array([rgb for _, rgb in INKS], np.float32)
    if tone is not None:
        ground = np.broadcast_to(np.asarray(tone, np.float32), picture.shape)
        return View(picture, ground, inks, 255 * gain)
    ground = paint_background(background, *picture.shape[:2]) * gain
    # a background may be a little off its colour
    shift = np.median((picture - lift - ground)[::2, ::2], axis=(0, 1))
    return View(picture - lift, ground + np.clip(shift, -20, 20).astype(np.float32), inks * gain, 255 * gain)


def _foreground(view: View, background: str) -> Bools:
    """The pixels that are clearly not background and well on the way to a paint."""
    apart = view.pixels - view.ground
    gain = view.white / 255
    if background == "brick":  # any mixture of brick and mortar is: courses may have shifted a little
        brick, mortar = (np.asarray(PALETTE[n], np.float32) * gain for n in ("brick", "mortar"))
        along = (view.pixels - brick) @ (mortar - brick) / np.sum((mortar - brick) ** 2)
        apart = view.pixels - brick - np.clip(along, 0, 1)[..., None] * (mortar - brick)
    shades = (1.0, 0.67, 0.35)  # plain, blurred stripes, stripes
    paints = np.concatenate([shade * view.inks[: len(COLOURS)] for shade in shades])
    to_paint = (np.sum(paints**2, axis=1) - 2 * (view.pixels @ paints.T)).min(axis=2)
    to_paint += np.sum(view.pixels**2, axis=2)
    on_the_way = np.sum(apart**2, axis=2) > WAY**2 * to_paint
    return on_the_way & (np.sum((apart / gain) ** 2, axis=2) > LEAST_CONTRAST**2)


def _objects(view: View, labels: Labels, part: int) -> list[_Found]:
    """The one thing that a part is, or those that have run into each other there."""
    guess, fit = best_fit(view, labels, part)
    if fit >= CLEAR:
        return [_Found(guess, fit, part)]
    pieces = pieces_of(labels, part)
    apart = [_Found(*best_fit(view, pieces, k), part) for k in range(1, pieces.max() + 1)]
    better = len(apart) > 1 and sum(f.guess.error for f in apart) < 0.5 * guess.error
    return apart if better else [_Found(guess, fit, part)]


def _named(guess: Guess, factor: int, height: int, width: int, places: Iterable[str]) -> Thing:
    """The thing with the nearest named size and place; height and width are the full picture's."""
    unit = min(height, width)
    x, y, radius = (factor * v / unit for v in guess.pose)
    size = min(SIZES, key=lambda s: abs(SIZES[s] - radius))
    thing = Thing(shape=guess.shape, colour=guess.colour, texture=guess.texture, size=size)
    there = [replace(thing, place=place) for place in places]
    away = [(x - px, y - py) for px, py in (t.centre(width / height) for t in there)]
    thing, (dx, dy) = min(zip(there, away, strict=True), key=lambda pair: float(np.hypot(*pair[1])))
    return replace(thing, dx=round(dx, 4), dy=round(dy, 4))
