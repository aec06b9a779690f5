"""What is drawn: 120 edits, the kinds, programs and splits in turn, all else at random within what is plain to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from colours import COMMON, GROUNDS, PAINTS, apart, clear
from figures import REACH, RGB, Drawing, Figure
from programs import PROGRAMS
from wording import STYLES, Said, caption

T = TypeVar("T")

KINDS = ("recolour", "reshape", "background", "remove", "add")
EACH = 24
SEED = 2026
SIZES = (
    (90, 90), (96, 128), (120, 90), (128, 128), (150, 100), (160, 160), (180, 240), (200, 200), (240, 135),
    (256, 256), (300, 200), (320, 240), (200, 500), (400, 300), (400, 400), (480, 270), (300, 450), (500, 500),
    (600, 240), (640, 480), (512, 768), (800, 600), (800, 800), (1024, 576), (1200, 800), (900, 1200), (1200, 450),
)  # fmt: skip
LARGEST_ADD = 480  # px: an added object has many right places, each a picture
TURNED = ("square", "triangle", "star", "heart", "cross")
CONTRAST = 120.0  # least distance of an object's colour from its ground's, and from another object's
NEIGHBOUR = 90.0
THIRD = 0.34, 0.66  # "on the left" holds below, "on the right" above
SLACK = 1.05  # a new shape this much larger or smaller must still pass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One edit: the drawings before and after, their captions, and how the pictures are made.

    about: the figures that the edit is about, before and after. moves: what else is right, as (dx, dy) of the added
    object. quality: of a JPEG; None: PNG.
    """

    kind: str
    split: str
    program: str
    before: Drawing
    after: Drawing
    source: str
    target: str
    quality: int | None
    about: tuple[Figure, ...]
    moves: tuple[tuple[int, int], ...] = ()


class Unfit(Exception):
    """What was drawn at random does not do; draw again."""


@dataclass(frozen=True)
class Changed:
    after: Drawing
    about: tuple[Figure, ...] = ()
    gone: int | None = None
    moves: tuple[tuple[int, int], ...] = ()
    place: str = ""


def plan(number: int) -> Plan:
    """Edit `number` of the set, from 0."""
    kind, turn = KINDS[number % len(KINDS)], number // len(KINDS)
    names = tuple(PROGRAMS)
    program = names[(turn // 2 + number % len(KINDS)) % len(names)]
    rng = np.random.default_rng([SEED, number])
    while True:
        try:
            return _attempt(rng, kind, ("validation", "test")[turn % 2], program)
        except Unfit:
            continue


def _attempt(rng: np.random.Generator, kind: str, split: str, program: str) -> Plan:
    before = _drawing(rng, kind, program == "pillow" or bool(rng.random() < 0.12))
    changed = CHANGES[kind](rng, before)
    styles = [style for style in STYLES if style.ground or kind != "background"]
    style = styles[int(rng.integers(len(styles)))]
    said = [_said(rng, before, figure) for figure in before.figures]
    said_after = list(said)
    if changed.gone is not None:
        del said_after[changed.gone]
    elif kind == "add":
        said_after.append(Said(place=changed.place))
    return Plan(
        kind=kind,
        split=split,
        program=program,
        before=before,
        after=changed.after,
        source=caption(style, before, said),
        target=caption(style, changed.after, said_after),
        quality=int(rng.integers(60, 96)) if kind != "add" and rng.random() < 0.25 else None,
        about=changed.about,
        moves=changed.moves,
    )


# A drawing


def _drawing(rng: np.random.Generator, kind: str, hard: bool) -> Drawing:
    sizes = [s for s in SIZES if kind != "add" or max(s) <= LARGEST_ADD]
    size = sizes[int(rng.integers(len(sizes)))]
    weights = np.array([COMMON.get(name, 0.7) for name in GROUNDS])
    name = tuple(GROUNDS)[int(rng.choice(len(GROUNDS), p=weights / weights.sum()))]
    if kind == "add" and name == "sky":
        raise Unfit  # an object is moved by moving its pixels: not on a gradient, and not in a JPEG
    ground = _pick(rng, GROUNDS[name])
    count = 2 if kind == "remove" or (kind != "add" and rng.random() < 0.3) else 1
    lines = rng.random() < 0.2 and min(map(sum, ground)) > 240
    figures: list[Figure] = []
    for centre, radius in _layout(rng, size, count, "add" if kind == "add" else ""):
        shape = _pick(rng, tuple(REACH))
        paint = _pick(rng, tuple(PAINTS))
        figures.append(
            Figure(
                shape=shape,
                name=paint,
                colour=_paint(rng, paint, figures),
                centre=centre,
                radius=radius,
                proportion=round(float(rng.uniform()), 2),
                turn=round(float(rng.uniform(-12, 12)), 1) if shape in TURNED and rng.random() < 0.2 else 0.0,
                outline=max(1, round(radius * float(rng.uniform(0.04, 0.09))))
                if lines and shape != "ring"
                else 0,
            )
        )
    drawing = Drawing(size=size, ground=ground, name=name, figures=tuple(figures), hard=hard)
    _check(drawing)
    return drawing


def _layout(
    rng: np.random.Generator, size: tuple[int, int], count: int, kind: str
) -> list[tuple[tuple[float, float], float]]:
    """Centres and radii. Two objects often stand in a row, a single one often in the middle."""
    w, h = size
    unit = min(size)
    least = max(0.1 * unit, 0.065 * max(size))
    most = 0.33 * unit if count == 1 and not kind else 0.2 * unit
    if least > most:
        raise Unfit
    radii = np.exp(rng.uniform(np.log(least), np.log(most), count))
    if count == 2 and rng.random() < 0.6:
        radii[1] = radii[0]
    centres = [[float(rng.uniform(0.1, 0.9) * w), float(rng.uniform(0.1, 0.9) * h)] for _ in range(count)]
    if count == 1 and not kind and rng.random() < 0.45:
        centres = [[w / 2, h / 2]]
    if count == 2 and rng.random() < 0.6:
        across = int(w < h)
        spread = float(rng.uniform(0.2, 0.27))
        for centre, where in zip(centres, (0.5 - spread, 0.5 + spread), strict=True):
            centre[across], centre[1 - across] = where * size[across], size[1 - across] / 2
    return [((round(x), round(y)), round(float(r), 1)) for (x, y), r in zip(centres, radii, strict=True)]


def _check(drawing: Drawing) -> None:
    """Raises Unfit where something is cut off, overlaps or is hard to see."""
    for i, figure in enumerate(drawing.figures):
        reach = figure.radius * REACH[figure.shape] + figure.outline
        margin = reach + 0.025 * min(drawing.size)
        if not all(margin <= c <= side - margin for c, side in zip(figure.centre, drawing.size, strict=True)):
            raise Unfit
        if figure.name == drawing.name or any(apart(figure.colour, g) < CONTRAST**2 for g in drawing.ground):
            raise Unfit
        for other in drawing.figures[:i]:
            room = reach + other.radius * REACH[other.shape] + other.outline + 0.03 * min(drawing.size)
            if np.hypot(*np.subtract(figure.centre, other.centre)) < room:
                raise Unfit
            alike = figure.name == other.name
            if (alike and figure.shape == other.shape) or (
                not alike and apart(figure.colour, other.colour) < NEIGHBOUR**2
            ):
                raise Unfit


# The changes


def _recolour(rng: np.random.Generator, before: Drawing) -> Changed:
    i = int(rng.integers(len(before.figures)))
    old = before.figures[i]
    name = _pick(rng, tuple(n for n in PAINTS if n != old.name))
    colour = _pick(rng, PAINTS[name])
    if not clear(old.colour, colour, name):
        raise Unfit
    new = replace(old, name=name, colour=colour)
    return Changed(_with(before, i, new), (old, new))


def _reshape(rng: np.random.Generator, before: Drawing) -> Changed:
    i = int(rng.integers(len(before.figures)))
    old = before.figures[i]
    shape = _pick(rng, tuple(s for s in REACH if s != old.shape))
    if "ring" in (shape, old.shape) and (old.outline or rng.random() < 0.7):
        raise Unfit  # a ring differs so much from all others that it would be everywhere
    new = replace(old, shape=shape, turn=old.turn if shape in TURNED else 0.0)
    after = _with(before, i, new)
    draw = PROGRAMS["pillow"]
    source, truth = (np.asarray(draw(d), float) for d in (before, after))
    asked = np.square(source - truth).sum()
    for factor in (SLACK, 1 / SLACK):
        other = draw(_with(before, i, replace(new, radius=new.radius * factor)))
        if np.square(np.asarray(other, float) - truth).sum() > 0.25 * asked:
            raise Unfit
    return Changed(after, (old, new))


def _background(rng: np.random.Generator, before: Drawing) -> Changed:
    weights = np.array([COMMON.get(name, 1.0) ** 0.5 for name in GROUNDS])
    name = tuple(GROUNDS)[int(rng.choice(len(GROUNDS), p=weights / weights.sum()))]
    ground = _pick(rng, GROUNDS[name])
    mean_before, mean_after = np.mean(before.ground, 0), np.mean(ground, 0)
    plain = (
        apart(mean_before, mean_after) > CONTRAST**2 if name == "sky" else clear(mean_before, ground[0], name)
    )
    dark = any(f.outline for f in before.figures) and min(map(sum, ground)) < 240
    if name == before.name or not plain or dark:
        raise Unfit
    after = replace(before, ground=ground, name=name)
    _check(after)
    return Changed(after)


def _remove(rng: np.random.Generator, before: Drawing) -> Changed:
    i = int(rng.integers(2))
    return Changed(replace(before, figures=(before.figures[1 - i],)), (before.figures[i],), gone=i)


def _add(rng: np.random.Generator, before: Drawing) -> Changed:
    """An object at any free place, or at any on the left or right where that is said."""
    old = before.figures[0]
    name, shape = _pick(rng, tuple(PAINTS)), _pick(rng, tuple(REACH))
    radius = round(old.radius * float(rng.uniform(0.8, 1.0)), 1)
    outline = old.outline if shape != "ring" else 0
    place = _pick(rng, ("", "", "on the left", "on the right"))
    colour = _paint(rng, name, before.figures)
    if not clear(before.ground[0], colour, name):
        raise Unfit
    new = replace(old, shape=shape, name=name, colour=colour, radius=radius, turn=0.0, outline=outline)
    step = max(2, round(0.5 * radius))
    found: list[tuple[int, int]] = []
    for x in range(0, before.size[0], step):
        part = x / before.size[0]
        if (place == "on the left" and part > THIRD[0]) or (place == "on the right" and part < THIRD[1]):
            continue
        for y in range(0, before.size[1], step):
            try:
                _check(replace(before, figures=(old, replace(new, centre=(x, y)))))
            except Unfit:
                continue
            found.append((x, y))
    if not 9 <= len(found) <= 60:
        raise Unfit
    x, y = _pick(rng, found)
    moves = tuple((a - x, b - y) for a, b in found if (a, b) != (x, y))
    new = replace(new, centre=(x, y))
    return Changed(replace(before, figures=(old, new)), (new,), moves=moves, place=place)


def _with(drawing: Drawing, i: int, figure: Figure) -> Drawing:
    after = replace(drawing, figures=(*drawing.figures[:i], figure, *drawing.figures[i + 1 :]))
    _check(after)
    return after


CHANGES: dict[str, Callable[[np.random.Generator, Drawing], Changed]] = {
    "recolour": _recolour,
    "reshape": _reshape,
    "background": _background,
    "remove": _remove,
    "add": _add,
}


def _said(rng: np.random.Generator, drawing: Drawing, figure: Figure) -> Said:
    """Now and then a size or a place, where nobody would doubt it."""
    size = place = ""
    small, large = figure.radius / min(drawing.size), figure.radius / max(drawing.size)
    others = [other.radius for other in drawing.figures if other is not figure]
    if rng.random() < 0.25:
        if small < 0.115 and all(figure.radius < 0.8 * other for other in others):
            size = "small"
        elif large > 0.22 and all(figure.radius > 1.2 * other for other in others):
            size = "large"
    x, y = (c / side for c, side in zip(figure.centre, drawing.size, strict=True))
    if rng.random() < 0.3 and THIRD[0] < y < THIRD[1]:
        place = "on the left" if x < THIRD[0] else "on the right" if x > THIRD[1] else ""
    return Said(size, place)


def _paint(rng: np.random.Generator, name: str, figures: Sequence[Figure]) -> RGB:
    """A colour that goes by the name; in one drawing always the same."""
    return next((f.colour for f in figures if f.name == name), _pick(rng, PAINTS[name]))


def _pick(rng: np.random.Generator, names: Sequence[T]) -> T:
    return names[int(rng.integers(len(names)))]
