"""Sweeps: one cell per combination of values. Each cell is made once, measured, and labelled on a sheet."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError, nearest
from scumble.editing.checks import check_settings, method_class, taken
from scumble.editing.passport import check, differences, passport_of
from scumble.editing.recipe import Recipe
from scumble.pictures import sheets

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.request import Edit
    from scumble.editing.plan import Plan, Shared

MOST = 1000  # cells
EDITS = "method", "target", "seed", "keep"  # what of an edit can be swept besides its method's parameters
Axes = Mapping[str, Sequence[object]]
PANEL = 200, 400  # pixels of a picture's long side on the sheet, at least and at most


@dataclass(frozen=True)
class Variant:
    """One cell of a sweep: `values` by axis, in the order of the axes, and its recipe."""

    values: Mapping[str, object]
    recipe: Recipe

    @property
    def label(self) -> str:
        """The values as text."""
        shown = {name: f'"{value}"' if name == "target" else value for name, value in self.values.items()}
        return ", ".join(f"{name} {value}" for name, value in shown.items())

    @property
    def file(self) -> str:
        """A unique file name, valid on every file system. It depends only on the values, so a longer sweep finds it."""
        return (
            _word("_".join(f"{name}-{_word(value, 40)}" for name, value in self.values.items()), 160) + ".png"
        )


def variants(swept: Axes, recipe: Recipe) -> list[Variant]:
    """The cells of all combinations. A method is not combined with parameters that it does not have, nor given what
    only others of the sweep take.

    `recipe`: what all cells share, with a method's name. Raises InputError for an unknown axis, a parameter that no
    method has, a value outside its range, a parameter that is both swept and fixed, and too many cells.
    """
    named = [str(name) for name in swept.get("method", [recipe.method])]
    kinds = {name: method_class(name) for name in named}
    owned = {name: {f.name for f in fields(kind)} for name, kind in kinds.items()}
    takes = {name: taken(kind) for name, kind in kinds.items()}
    some = set[str]().union(*takes.values())
    _check(swept, recipe.settings, owned)
    if math.prod(map(len, swept.values())) > MOST:
        raise InputError(f"--over: these are more than {MOST} cells; sweep fewer values at a time")
    found: dict[str, Variant] = {}
    for combination in itertools.product(*swept.values()):
        chosen = dict(zip(swept, combination, strict=True))
        method = str(chosen.get("method", recipe.method))
        apart = {k: v for k, v in chosen.items() if k in EDITS or k in owned[method]}
        settings = {k: v for k, v in {**recipe.settings, **apart}.items() if k in owned[method]}
        check_settings(method, kinds[method], settings)
        edits: dict[str, Any] = {k: v for k, v in apart.items() if k in EDITS}
        edits["given"] = {k: v for k, v in recipe.given.items() if k in takes[method] or k not in some}
        found.setdefault(repr(apart), Variant(apart, replace(recipe, **edits, settings=settings)))
    return list(found.values())


def _check(swept: Axes, settings: Mapping[str, object], owned: Mapping[str, set[str]]) -> None:
    for name in settings:
        if name in swept:
            raise InputError(f"--set {name}: --over sweeps it; leave one of the two out")
    known = {parameter for parameters in owned.values() for parameter in parameters}
    for name in [*settings, *swept]:
        if name not in known and (name not in EDITS or name in settings):
            raise InputError(
                f"{' and '.join(owned)}: no parameter {name!r}{nearest(name, {*known, *EDITS})}; known are "
                f"{', '.join(sorted(known))}; --over also takes {', '.join(EDITS)}"
            )


def _word(value: object, longest: int) -> str:
    """A value in characters that every file system accepts and distinguishes."""
    text = str(value)
    word = re.sub(r"[^a-z0-9.+_-]+", "-", text.lower())[:longest].strip("-.")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return word if word == text else f"{word}-{digest}".lstrip("-")


class Ruler:
    """Measures results. What depends on the input alone is computed once per pair of prompts."""

    def __init__(self) -> None:
        self._start: dict[tuple[str, str], float] = {}

    def measure(
        self, plan: Plan, picture: Image.Image, shared: Shared | None = None
    ) -> dict[str, float | None]:
        """Distance in 8-bit steps over the whole picture, and direction over the part that the prompts describe (None
        if the model takes no text).

        The distance of a result that was drawn larger is that from the input drawn larger; its direction is that of
        its averages, at the input's size.
        """
        from scumble.core.machine import limits
        from scumble.measuring.measures import distance, margin

        rgb, placed, factor = picture.convert("RGB"), plan.placed, plan.recipe.upscale
        below = plan.below(shared).rgb
        measured: dict[str, float | None] = {"distance": distance(below, rgb), "direction": None}
        if "text" not in plan.prior.card.capabilities:
            return measured
        prompts = plan.recipe.source or "", plan.recipe.target or ""
        with limits(plan.loaded.get("device", "cpu")):
            if prompts not in self._start:
                self._start[prompts] = margin(plan.prior, placed.image, *prompts, latent=placed.latent)
            seen = placed.put(replace(placed.picture, rgb=rgb.reduce(factor)))
            end = margin(plan.prior, seen, *prompts)
        direction = end - self._start[prompts]
        return measured | {"direction": direction if math.isfinite(direction) else None}


@dataclass(frozen=True, eq=False)
class CellResult:
    """The report of a cell: its --json record and a small picture; no picture if the cell failed."""

    variant: Variant
    record: Mapping[str, Any]
    picture: Image.Image | None

    def drawn(self, framed: bool, like: Image.Image) -> sheets.Cell:
        """The cell on the sheet. Without a picture it is blank and has the size of `like`."""
        from PIL import Image

        record = self.record
        if self.picture is None:
            grey = Image.new("RGB", sheets.panel(like, *PANEL).size, "#d4d4d8")
            return sheets.Cell(grey, [self.variant.label, f"failed: {record['error']}"])
        measures = f"distance {record['distance']:.1f}"
        if record["direction"] is not None:
            measures += f", direction {record['direction']:+.2g}"
        lines = [
            self.variant.label,
            f"{sheets.percent(record['changed'])} changed, {record['seconds']:.1f} s",
            measures,
        ]
        return sheets.Cell(self.picture, lines, framed)


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of the sweep with its plan and its file."""

    variant: Variant
    plan: Plan
    path: Path

    def finished(self, overwrite: bool = False) -> dict[str, Any] | None:
        """The passport of the cell's file if it is what the plan would make; else None.

        Raises InputError for a damaged file and, without `overwrite`, for a file that was made in another way.
        """
        if not self.path.exists():
            return None
        found = passport_of(self.path)
        other = differences(self.plan.promise(), found)
        if not other:
            check(found, self.path)
            return found
        if overwrite:
            return None
        raise InputError(
            f"{self.path}: this file exists already, with other settings ({other[0]}); choose another folder with -o, "
            "or --overwrite"
        )

    def make(
        self,
        passport: Mapping[str, Any] | None,
        perform: Callable[[Plan], Edit],
        ruler: Ruler,
        shared: Shared | None = None,
    ) -> CellResult:
        """Make and save the cell unless `passport` shows that it exists, and measure it unless it is measured.

        shared: what cells have in common, see `Plan`.
        """
        from PIL import Image

        from scumble.pictures import writing

        if passport is None:
            try:
                edit = perform(self.plan)
            except InputError as error:
                return CellResult(self.variant, self._record({"error": str(error)}), None)
            assert edit.picture is not None
            picture, passport = edit.picture, edit.provenance
            writing.save(picture, self.path, passport)
        else:
            picture = Image.open(self.path)
        if set(passport.get("measures") or ()) != {"distance", "direction"}:
            passport = {**passport, "measures": ruler.measure(self.plan, picture, shared)}
            writing.save(picture, self.path, passport)
        measured = {
            "file": str(self.path),
            "changed": passport["layer"]["changed"],
            "seconds": passport["seconds"],
            "evaluations": passport["evaluations"],
            **passport["measures"],
            "passport": passport,
        }
        return CellResult(self.variant, self._record(measured), sheets.panel(picture, *PANEL))

    def _record(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        return {"values": dict(self.variant.values), "target": self.plan.request.target, **measured}


def framed(made: Sequence[CellResult]) -> list[bool]:
    """The Pareto-optimal cells: those that no other cell of the same target beats in both measures."""
    from scumble.measuring.measures import pareto

    marks = [False] * len(made)
    for target in {cell.record["target"] for cell in made}:
        rivals = [
            (i, (cell.record["distance"], cell.record["direction"]))
            for i, cell in enumerate(made)
            if cell.record["target"] == target and cell.record.get("direction") is not None
        ]
        for (i, _), mark in zip(rivals, pareto([edit for _, edit in rivals]), strict=True):
            marks[i] = mark
    return marks
