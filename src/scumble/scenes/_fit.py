"""Finds the object of the world that best explains one part of a picture.

For a given shape and texture, a picture is linear in the object's ink, so three sums give the squared error for every
ink. The best candidates are moved and scaled by Gauss-Newton steps, then blurred as much as the picture is.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from ._parts import Labels, grown
from .render import SHAPE, Floats, coverage, textured
from .wide import KNOWN_AS
from .world import COLOURS, RGB, SHAPES, TEXTURES, Thing

INKS: tuple[tuple[str, RGB], ...] = (
    *COLOURS.items(),
    *((name, rgb) for name, known in KNOWN_AS.items() for rgb in known),
)
"""Colours with their names, the canonical ones first."""


GRAINS = (0.095, 0.12, 0.132, 0.145, 0.158)
"""Distances between stripes or dots that are tried where the canonical one leaves a part unexplained."""

UNEXPLAINED = 0.04
"""Share of a part's contrast that the canonical values may leave before others are tried."""

CLEARLY = 0.5
"""Other values explain a part where they leave less than this of what the canonical ones do: dark is not striped."""


class View(NamedTuple):
    """A picture less its look's lift, and what it is made of under that look: linear in the colours."""

    pixels: Floats  # (h, w, 3)
    ground: Floats  # (h, w, 3)
    inks: Floats  # (n, 3), in the order of INKS
    white: Floats  # (3,)


class Pose(NamedTuple):
    x: float  # centre and radius, in pixels
    y: float
    radius: float


class Guess(NamedTuple):
    error: float  # sum of squares over the part's window
    shape: str
    texture: str
    colour: str
    pose: Pose


class _Patch(NamedTuple):
    """The window around one part: everything else has been taken out of it."""

    pixels: Floats  # (h, w, 3), less the background
    ground: Floats
    inks: Floats
    white: Floats
    left: int
    top: int
    unit: int  # shorter side of the whole picture
    contrast: float  # sum of squares of pixels


def best_fit(view: View, labels: Labels, part: int) -> tuple[Guess, float]:
    """The thing that explains a part best, and the share of its contrast that it explains."""
    mask = labels == part
    patch = _patch(view, labels, part)
    ys, xs = np.nonzero(mask)
    guesses: list[Guess] = []
    for shape, (area, down) in _proportions().items():
        radius = float(np.sqrt(len(xs) / area))
        pose = Pose(float(xs.mean()) + 0.5, float(ys.mean()) + 0.5 - down * radius, radius)
        guesses.append(_best(patch, shape, pose))
    guesses.sort()
    close = [g for g in guesses if g.error < 4 * guesses[0].error][:3]
    best = min(_refined(patch, g) for g in close)
    if best.error > UNEXPLAINED * patch.contrast:  # the wide world has other tones and coarser textures, too
        others = {shape for _, shape, *_ in close}
        wide = min(_best(patch, s, best.pose, grains=(None, *GRAINS), inks=len(INKS)) for s in sorted(others))
        best = wide if wide.error < CLEARLY * best.error else best
    return best, max(1 - best.error / patch.contrast, 0.0)


def _patch(view: View, labels: Labels, part: int) -> _Patch:
    ys, xs = np.nonzero(labels == part)
    margin = 4
    top, left = max(int(ys.min()) - margin, 0), max(int(xs.min()) - margin, 0)
    window = slice(top, int(ys.max()) + margin + 1), slice(left, int(xs.max()) + margin + 1)
    near, ground = labels[window], view.ground[window]
    pixels = view.pixels[window] - ground
    others = (near != 0) & (near != part)
    if others.any():
        others = grown(grown(others))  # with their soft edges
        pixels[others & (near != part)] = 0
    return _Patch(
        pixels, ground, view.inks, view.white, left, top, min(labels.shape), float(np.vdot(pixels, pixels))
    )


@lru_cache(maxsize=1)
def _proportions() -> dict[str, tuple[float, float]]:
    """For each shape of radius 1, holes filled: its area, and how far below its centre its mass lies."""
    u = np.linspace(-1.495, 1.495, 300, dtype=np.float32)
    x, y = u[None, :], u[:, None]
    table: dict[str, tuple[float, float]] = {}
    for shape in SHAPES:
        inside = SHAPE[shape](x, y, 1.0) < 0
        if shape == "ring":
            inside |= np.hypot(x, y) < 0.8
        table[shape] = float(inside.sum()) / 100**2, float((inside * y).sum() / inside.sum())
    return table


def _distance(patch: _Patch, shape: str, pose: Pose) -> tuple[Floats, Floats, Floats]:
    height, width = patch.pixels.shape[:2]
    x = (np.arange(width, dtype=np.float32) + np.float32(patch.left + 0.5 - pose.x))[None, :]
    y = (np.arange(height, dtype=np.float32) + np.float32(patch.top + 0.5 - pose.y))[:, None]
    return SHAPE[shape](x, y, pose.radius), x, y


def _painted(
    patch: _Patch,
    cover: Floats,
    distance: Floats,
    x: Floats,
    y: Floats,
    texture: str,
    grain: float | None = None,
) -> tuple[Floats, Floats]:
    """(w, base) such that w * ink + base is what the object adds to the background: (h, w), (h, w, 3)."""
    base = -cover[..., None] * patch.ground
    if texture == "plain":
        return cover, base
    # painted in an ink whose channels are 0 and 1, a texture shows what it takes of ink and of white
    thing = Thing(shape="circle", colour="red", texture=texture, grain=grain)
    probe = textured(thing, distance, x, y, patch.unit, {"red": (0.0, 1.0, 0.0)})
    ink: Floats = probe[..., 1] - probe[..., 0]
    white: Floats = probe[..., 0] / 255
    if texture == "dotted":
        base += (cover * white)[..., None] * patch.white
    return cover * ink, base


def _best(
    patch: _Patch,
    shape: str,
    pose: Pose,
    blur: int = 0,
    grains: tuple[float | None, ...] = (None,),
    inks: int = len(COLOURS),
) -> Guess:
    """The texture and colour with which a shape at a pose, blurred so many times, explains the patch best."""
    distance, x, y = _distance(patch, shape, pose)
    cover, tones = coverage(distance), patch.inks[:inks]
    guesses: list[Guess] = []
    for texture, grain in product(TEXTURES, grains):
        w, base = _painted(patch, cover, distance, x, y, texture, grain)
        for _ in range(blur):
            w, base = _blurred(w), _blurred(base)
        rest, weights = (patch.pixels - base).reshape(-1, 3), w.ravel()
        errors = (
            np.vdot(rest, rest)
            - 2 * tones @ (weights @ rest)
            + np.sum(tones**2, axis=1) * (weights @ weights)
        )
        best = int(errors.argmin())
        guesses.append(Guess(float(errors[best]), shape, texture, INKS[best][0], pose))
    return min(guesses)


def _refined(patch: _Patch, guess: Guess, steps: int = 4) -> Guess:
    """The guess after Gauss-Newton steps on centre and radius, the ink free; never a worse one.

    The slopes are those of an outline twice as soft: the renderer's does not see beyond the next pixel.
    """
    pose = guess.pose
    for _ in range(steps):
        distance, x, y = _distance(patch, guess.shape, pose)
        w, base = _painted(patch, coverage(distance), distance, x, y, guess.texture)
        rest = patch.pixels - base
        ink = np.tensordot(w, rest) / max(float(np.vdot(w, w)), 1e-6)
        rest -= w[..., None] * ink
        edge = np.maximum(1 - np.abs(distance), 0)[..., None] * (ink - patch.ground)
        moved = (
            pose._replace(x=pose.x + 0.5),
            pose._replace(y=pose.y + 0.5),
            pose._replace(radius=pose.radius + 0.5),
        )
        away = ((distance - _distance(patch, guess.shape, other)[0]) / 0.5 for other in moved)
        slopes = np.stack([(edge * d[..., None]).ravel() for d in away])
        step = np.linalg.lstsq(slopes @ slopes.T, slopes @ rest.ravel(), rcond=1e-4)[0]
        step = np.clip(step, -2, 2)
        pose = Pose(*(p + float(d) for p, d in zip(pose, step, strict=True)))
        if pose.radius < 2 or np.abs(step).max() < 0.03:
            break
    if pose.radius < 2:
        return guess
    best = min(guess, _best(patch, guess.shape, pose))
    for blur in range(1, 5):
        if best.error < 0.02 * patch.contrast:
            break
        best, last = min(best, _best(patch, guess.shape, pose, blur)), best
        if best is last:
            break
    return best


def _blurred(field: Floats) -> Floats:
    """Weights 1 2 1 along both sides."""
    soft = field
    for axis in (0, 1):
        soft = soft.swapaxes(0, axis)
        beyond = np.concatenate([soft[:1], soft, soft[-1:]])
        soft = (0.5 * soft + 0.25 * (beyond[:-2] + beyond[2:])).swapaxes(0, axis)
    return soft.astype(np.float32, copy=False)
