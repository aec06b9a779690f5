"""The cells of a sweep: made once, measured, found again, told apart on a sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.cli.axes import Variant
from scumble.cli.recipe import check, differences, passport_of
from scumble.cli.voice import Voice, perform
from scumble.core.errors import InputError
from scumble.pictures import sheets

if TYPE_CHECKING:
    from PIL import Image

    from scumble.editing.plan import Plan, Shared

PANEL = 200, 400  # pixels of a picture's long side on the sheet, at least and at most


class Ruler:
    """Measures results; what belongs to the input alone is asked once for every pair of prompts."""

    def __init__(self) -> None:
        self._start: dict[tuple[str, str], float] = {}

    def measure(self, plan: Plan, picture: Image.Image) -> dict[str, float | None]:
        """Distance in 8-bit steps over the whole picture, direction over the part that the prompts describe; None
        where the model knows no words.
        """
        from scumble.core.machine import limits
        from scumble.measuring.measures import distance, margin
        from scumble.pictures.canvas import to_canvas

        rgb = picture.convert("RGB")
        measured: dict[str, float | None] = {"distance": distance(plan.picture.rgb, rgb), "direction": None}
        if "text" not in plan.prior.card.capabilities:
            return measured
        prompts = str(plan.request.source or ""), str(plan.request.target or "")
        part = replace(plan.part, rgb=rgb.crop(plan.box) if plan.box else rgb)
        with limits(plan.loaded.get("device", "cpu")):
            if prompts not in self._start:
                assert plan.request.image is not None
                self._start[prompts] = margin(plan.prior, plan.request.image, *prompts)
            end = margin(plan.prior, to_canvas(part, plan.fit), *prompts)
        direction = end - self._start[prompts]
        return measured | {"direction": direction if math.isfinite(direction) else None}


@dataclass(frozen=True, eq=False)
class Made:
    """A cell as it is told: what --json says of it, and its picture, small; none where it could not be made."""

    variant: Variant
    told: Mapping[str, Any]
    picture: Image.Image | None

    def drawn(self, framed: bool, like: Image.Image) -> sheets.Cell:
        """The cell on the sheet, of the size of `like` where it has no picture."""
        from PIL import Image

        told = self.told
        if self.picture is None:
            grey = Image.new("RGB", sheets.panel(like, *PANEL).size, "#d4d4d8")
            return sheets.Cell(grey, [self.variant.label, f"failed: {told['error']}"])
        measures = f"distance {told['distance']:.1f}"
        if told["direction"] is not None:
            measures += f", direction {told['direction']:+.2g}"
        lines = [
            self.variant.label,
            f"{sheets.percent(told['changed'])} changed, {told['seconds']:.1f} s",
            measures,
        ]
        return sheets.Cell(self.picture, lines, framed)


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of the sweep, its plan and its file."""

    variant: Variant
    plan: Plan
    path: Path

    def finished(self, overwrite: bool = False) -> dict[str, Any] | None:
        """The passport of the file where it is what would be made; None where there is none or, with `overwrite`,
        another one. Raises InputError for another file in the way without `overwrite`, and for a damaged one.
        """
        if not self.path.exists():
            return None
        told = passport_of(self.path)
        other = differences(self.plan.promise(), told)
        if not other:
            check(told, self.path)
            return told
        if overwrite:
            return None
        raise InputError(
            f"{self.path}: there is such a file already, made otherwise ({other[0]}); choose another folder with -o, "
            "or --overwrite"
        )

    def make(
        self, passport: Mapping[str, Any] | None, voice: Voice, ruler: Ruler, shared: Shared | None = None
    ) -> Made:
        """Make and save the cell unless `passport` says that it is made, and measure it unless it is measured."""
        from PIL import Image

        from scumble.pictures import writing

        if passport is None:
            try:
                edit = perform(self.plan, voice, shared=shared)
            except InputError as error:
                return Made(self.variant, self._record({"error": str(error)}), None)
            assert edit.picture is not None
            picture, passport = edit.picture, edit.provenance
            writing.save(picture, self.path, passport)
        else:
            picture = Image.open(self.path)
        if set(passport.get("measures") or ()) != {"distance", "direction"}:
            passport = {**passport, "measures": ruler.measure(self.plan, picture)}
            writing.save(picture, self.path, passport)
        told = {
            "file": str(self.path),
            "changed": passport["layer"]["changed"],
            "seconds": passport["seconds"],
            "evaluations": passport["evaluations"],
            **passport["measures"],
            "passport": passport,
        }
        return Made(self.variant, self._record(told), sheets.panel(picture, *PANEL))

    def _record(self, told: Mapping[str, Any]) -> dict[str, Any]:
        return {"values": dict(self.variant.values), "target": self.plan.request.target, **told}


def framed(made: Sequence[Made]) -> list[bool]:
    """Which cells no other cell of the same target beats."""
    from scumble.measuring.measures import pareto

    marks = [False] * len(made)
    for target in {cell.told["target"] for cell in made}:
        rivals = [
            (i, (cell.told["distance"], cell.told["direction"]))
            for i, cell in enumerate(made)
            if cell.told["target"] == target and cell.told.get("direction") is not None
        ]
        for (i, _), mark in zip(rivals, pareto([edit for _, edit in rivals]), strict=True):
            marks[i] = mark
    return marks
