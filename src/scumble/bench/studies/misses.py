"""Why edits miss: how many would be right if the changed object might stand a little off its true place.

    python -m scumble.bench.studies misses runs/test/dds_fast.jsonl

The bench compares pictures pixel by pixel, so a well-drawn star two pixels off its place is as wrong as no star. This
study takes the rows and pictures of `scumble bench scenes` and looks for the nearest answer whose changed object is up
to 3 % of the side away (`JITTER`, within which the world itself places objects), up to 7 % larger or smaller, with any
grain of its texture that the world has; an added object may stand at any free place. The bench's own scores stay as
they are. In brackets: 95 % intervals over edits.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np

from scumble.bench.rows import TableRow, read_rows
from scumble.bench.statistics import interval
from scumble.core.errors import InputError
from scumble.core.pixels import Pixels
from scumble.measuring.judge import SUCCESS, Known, judge
from scumble.measuring.tasks import SEED
from scumble.pictures import reading
from scumble.scenes import Scene, SceneEdit, Split, Thing, edits
from scumble.scenes.wide import GRAIN, with_names
from scumble.scenes.world import JITTER, fits

LARGER = 1.07
GRAINS = (None, *np.linspace(*GRAIN, 14).round(4).tolist())
STEPS = (4, 2, 1)  # pixels of 128, from coarse to fine
LOOKS = 3  # at most, at each step
SIDE = 128


@dataclass(frozen=True, kw_only=True)
class Miss:
    """An edit's result against the canonical answers, and against the nearest one that may be a little off.

    left: share of the error that is left, against the canonical answers and the nearest one. off: pixels of 128 between
    the two.
    """

    kind: str
    found: bool
    left: tuple[float, float]
    off: float

    @property
    def right(self) -> tuple[bool, bool]:
        """Success by the canonical answers, and by the nearest one."""
        strict, near = (self.found and left <= SUCCESS for left in self.left)
        return strict, near


def nearest(edit: SceneEdit, result: Pixels, found: bool) -> Miss | None:
    """The result against the nearest answer; None for an edit that changes no object or nothing."""
    asked = [(scene, _changed(edit, scene)) for scene in edit.targets]
    left, scene, thing = min(
        ((_left(edit, scene, result), scene, thing) for scene, thing in asked if thing is not None),
        key=lambda each: each[0],
        default=(0.0, None, None),
    )
    if scene is None or thing is None:
        return None
    best, now = left, thing
    for step in STEPS:
        for _ in range(LOOKS):
            before = now
            for other in _around(now, step, thing.texture != "plain"):
                if other == now or not _allowed(edit, scene, thing, other):
                    continue
                error = _left(edit, _with(scene, thing, other), result)
                if error < best:
                    best, now = error, other
            if now == before:
                break
    (ax, ay), (bx, by) = thing.centre(), now.centre()
    off = float(np.hypot(ax - bx, ay - by)) * SIDE
    return Miss(kind=edit.kind, found=found, left=(left, best), off=off)


def _changed(edit: SceneEdit, scene: Scene) -> Thing | None:
    return next((thing for thing in scene.things if thing not in edit.source.things), None)


def _left(edit: SceneEdit, scene: Scene, result: Pixels) -> float:
    left = judge(Known.of(replace(edit, targets=(scene,)), SIDE), result, read=False).left
    return np.inf if left is None else left


def _with(scene: Scene, old: Thing, new: Thing) -> Scene:
    return replace(scene, things=tuple(new if thing == old else thing for thing in scene.things))


def _around(thing: Thing, step: int, textured: bool) -> Iterator[Thing]:
    """The thing a step to every side, a little larger and smaller, and with every grain."""
    d = step / SIDE
    for dx, dy in ((d, 0), (-d, 0), (0, d), (0, -d)):
        yield replace(thing, dx=thing.dx + dx, dy=thing.dy + dy)
    for change in (d / 2, -d / 2):
        yield replace(thing, radius=thing.extent + change)
    if textured and step == STEPS[0]:
        yield from (replace(thing, grain=grain) for grain in GRAINS)


def _allowed(edit: SceneEdit, scene: Scene, asked: Thing, other: Thing) -> bool:
    """Whether the caption still says it, and it is near enough to what was asked."""
    (ax, ay), (bx, by) = asked.centre(), other.centre()
    near = max(abs(ax - bx), abs(ay - by)) <= JITTER + 1e-9
    named = with_names(other, (bx, by), 1.0)
    inside = max(abs(bx - 0.5), abs(by - 0.5)) + other.reach <= 0.52
    same = named.size == asked.size and 1 / LARGER <= other.extent / asked.extent <= LARGER
    return (near or edit.kind == "add") and same and inside and fits(_with(scene, asked, other).things)


def misses(path: Path) -> list[Miss]:
    """Every edit of a file of `scumble bench scenes` that changes an object.

    Raises:
        InputError: rows of another bench or canvas, or a picture that is missing.
    """
    rows = [row for row in read_rows(path) if row["kind"] != "noop" and not row["refused"]]
    bench = rows[0]["bench"] if rows else {}
    if bench.get("world") != "scenes" or bench.get("side") != SIDE:
        raise InputError(
            f"{path}: these are no rows of `scumble bench scenes` at {SIDE} px; this study needs its scenes"
        )
    numbers = [int(row["id"].rsplit("-", 1)[1]) for row in rows]
    known = list(islice(edits(cast("Split", bench["split"]), SEED), max(numbers) + 1))
    found = (_of(known[number], row, path.parent) for number, row in zip(numbers, rows, strict=True))
    return [miss for miss in found if miss is not None]


def _of(edit: SceneEdit, row: TableRow, folder: Path) -> Miss | None:
    picture = np.asarray(reading.read(folder / row["output"]).rgb)
    return nearest(edit, picture, bool(row["scores"]["found"]))


def table(found: Sequence[Miss]) -> Iterator[str]:
    """By kind and overall, as Markdown."""
    yield "| | n | found, % | success, % | if it may be a little off, % | median way off, px | error left | then |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for kind in (*dict.fromkeys(miss.kind for miss in found), "all"):
        some = [miss for miss in found if kind in (miss.kind, "all")]
        strict, near = (_share(miss.right[k] for miss in some) for k in (0, 1))
        left, then = (np.mean([miss.left[k] for miss in some]) for k in (0, 1))
        off = np.median([miss.off for miss in some])
        yield (
            f"| {kind} | {len(some)} | {_share(miss.found for miss in some)} | {strict} | {near} | {off:.1f} "
            f"| {left:.3f} | {then:.3f} |"
        )


def _share(right: Iterable[bool]) -> str:
    found = interval(100 * np.array([*right], np.float64))
    return f"{found.mean:.0f} [{found.low:.0f}, {found.high:.0f}]"


def main(flags: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scumble.bench.studies misses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, help="a file that `scumble bench scenes` has written")
    for line in table(misses(parser.parse_args(flags).rows)):
        print(line)
