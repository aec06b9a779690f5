"""The work of a request: plans, edits, files of results. Runs in the thread of the model's desk."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, cast

from PIL import Image
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.core.prior import Prior
from scumble.core.request import Edit, OnStep, Step
from scumble.editing import loading
from scumble.editing.plan import Plan, Shared, plan
from scumble.editing.recipe import Recipe
from scumble.editing.results import names
from scumble.editing.sweep import variants
from scumble.editing.telling import advice, record
from scumble.editing.upscaled import BELOW
from scumble.page.asking import prepared
from scumble.page.job import Job, Progress
from scumble.page.options import Options
from scumble.page.stopping import Stoppable
from scumble.page.store import Result, token
from scumble.pictures import reading, sheets, writing
from scumble.pictures.placed import Placed

KEPT = 2  # pictures whose place on the canvas, and what edits of them share, are kept
LARGEST_KEPT = 4_000_000  # pixels of one of them
SHARED = 3  # values that edits of a picture share
PREVIEW = 512  # pixels of a preview's long side
REST = 4.0  # of the time goes to the edit for every part that goes to its previews


@dataclass(frozen=True)
class Cell:
    """One edit of a request: what sets it apart, in words and by name, the name of its file, and its recipe."""

    label: str
    values: Mapping[str, object]
    name: str
    recipe: Recipe


class Maker:
    """A loaded model, and what it keeps between requests."""

    def __init__(self, prior: Prior, options: Options, stop: Callable[[], None]):
        self.prior, self._options = Stoppable(prior, stop), options
        self._kept: OrderedDict[tuple[object, ...], tuple[Placed, Shared]] = OrderedDict()

    @classmethod
    def load(cls, model: str, options: Options, stop: Callable[[], None]) -> Maker:
        """Raises InputError or MachineError where the model cannot be loaded."""
        return cls(loading.load(Loading(model, **options.how(model))), options, stop)

    def forget(self) -> None:
        """Keep nothing between requests: after an error, memory may be short."""
        self._kept.clear()

    def make(self, job: Job) -> None:
        """All edits of a request, or its heat maps; each result is stored when it is finished."""
        if job.words:
            _heat(job, self.prior)
            return
        key = self._key(job)
        placed, shared = self._kept.pop(key, (None, dict[Any, object]()))
        cells = list(self._cells(job, placed))
        first = plan(cells[0].recipe, placed)
        plans = [first, *(plan(cell.recipe, first.placed) for cell in cells[1:])]
        for k, (cell, each) in enumerate(zip(cells, plans, strict=True)):
            if job.asked.invert:
                each = _inverted(each, _Watch(self, job, each, k, len(cells), previews=False), shared)
            writing.check_passport(each.promise(), Path("result.png"))
            edit = each(_Watch(self, job, each, k, len(cells)), shared)
            _store(job, edit, each, cell)
        width, height = first.placed.picture.size
        if width * height * first.recipe.upscale**2 > LARGEST_KEPT:
            shared.pop(BELOW, None)
        for old in list(shared)[: max(0, len(shared) - SHARED)]:
            del shared[old]
        if width * height <= LARGEST_KEPT:
            self._kept[key] = first.placed, shared
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _cells(self, job: Job, placed: Placed | None) -> Iterator[Cell]:
        """The edits of a request."""
        asked = job.asked
        read: dict[str, Any] = _read(job, placed)
        editor = {"editor": self._options.editors[asked.editor]} if asked.editor else {}
        recipe = replace(asked.recipe, **read, given=editor).on(self.prior)
        named = replace(recipe, method=recipe.method or loading.usual_method(self.prior))
        if not asked.axes:
            yield Cell("", {}, f"{Path(read['image'].name).stem}.{named.method}.png", recipe)
        elif asked.axes.keys() <= {"target", "seed"}:
            targets = [str(x) for x in asked.axes.get("target", [recipe.target or ""])]
            seeds = [cast(int, x) for x in asked.axes.get("seed", [recipe.seed])]
            files = iter(names(targets, seeds))
            for target in targets:
                for seed in seeds:
                    label = ", ".join(
                        [f'"{target}"'] * (len(targets) > 1) + [f"seed {seed}"] * (len(seeds) > 1)
                    )
                    apart = {k: v for k, v in (("target", target), ("seed", seed)) if k in asked.axes}
                    yield Cell(label, apart, next(files), replace(recipe, target=target or None, seed=seed))
        else:
            for each in variants(asked.axes, named):
                yield Cell(each.label, each.values, each.file, each.recipe)

    def _key(self, job: Job) -> tuple[object, ...]:
        """What decides the place of a picture on the canvas."""
        asked = job.asked
        mask = asked.uploads.get("mask")
        return (asked.uploads["image"].id, mask and mask.id, asked.recipe.size, asked.recipe.crop)


def _read(job: Job, placed: Placed | None) -> dict[str, Any]:
    """The pictures of a request."""
    uploads = job.asked.uploads
    if placed:
        found: dict[str, Any] = {"image": placed.picture, "mask": placed.mask}
    else:
        image = reading.read(uploads["image"].read(), uploads["image"].name)
        found = {"image": image, "mask": None}
        if mask := uploads.get("mask"):
            read = reading.read_mask(mask.read(), image.size)
            found["mask"] = replace(read, name=mask.name)
    if reference := uploads.get("reference"):
        found["reference"] = reading.read(reference.read(), reference.name)
    return found


def _inverted(of: Plan, on_step: OnStep, shared: Shared) -> Plan:
    """The plan with what its method prepares, made now or before, as `scumble invert` makes it."""
    name = prepared(of.name)
    if of.placed.box:
        raise InputError(
            "invert: only a part of the picture is edited; set crop to none, or leave invert out"
        )
    values = tuple(getattr(of.method, f.name) for f in fields(cast(Any, of.method)))
    key = (name, type(of.method), values, of.recipe.source, of.recipe.negative, of.recipe.seed)
    if key not in shared:
        half = of.vary(target=of.recipe.source)
        request = replace(half.request, mask=None, reference=None, also=())
        shared[key] = half.method.prepare(half.prior, request, on_step)
    return plan(replace(of.recipe, given={name: shared[key]}), of.placed)


class _Watch:
    """Progress and previews of one edit: an `on_step`. It stops the stage that draws the result larger, too."""

    def __init__(self, maker: Maker, job: Job, plan: Plan, cell: int, cells: int, previews: bool = True):
        self._stop, self._job, self._plan, self._cell, self._cells = maker.prior.stop, job, plan, cell, cells
        self._started, self._next, self._previews = time.monotonic(), 0.0 if previews else inf, 0

    def __call__(self, step: Step) -> None:
        self._stop()
        now = time.monotonic()
        if now >= self._next and step.k < step.n:
            self._job.preview = _preview(self._plan, step)
            took = time.monotonic() - now
            self._next, self._previews = now + max(0.3, (1 + REST) * took), self._previews + 1
        each = (time.monotonic() - self._started) / step.k
        left = each * (step.n - step.k) + each * step.n * (self._cells - 1 - self._cell)
        self._job.change(progress=Progress(self._cell, self._cells, step.k, step.n, left, self._previews))


def _preview(plan: Plan, step: Step) -> bytes:
    """What a step looks like, small and lossy."""
    shown = plan.show(step.preview())
    shown.thumbnail((PREVIEW, PREVIEW))
    file = io.BytesIO()
    shown.convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()


def _store(job: Job, edit: Edit, plan: Plan, cell: Cell) -> None:
    """An edit's files, the same as the command line's, and what is told about it."""
    assert edit.picture is not None
    assert edit.layer is not None
    id, folder = token(), job.client.folder
    files = {name: folder / f"{id}.{name}" for name in ("result.png", "layer.png", "changed.png")}
    writing.save(edit.picture, files["result.png"], edit.provenance)
    writing.save(edit.layer, files["layer.png"])
    writing.save(edit.layer.getchannel("A"), files["changed.png"])
    if "mask" in edit.maps:
        files["mask.png"] = folder / f"{id}.mask.png"
        writing.save(_found(edit.maps["mask"], plan.placed), files["mask.png"])
    about = record(Path(cell.name), edit, plan)
    told = {
        "id": id,
        "file": cell.name,
        "label": cell.label,
        "values": dict(cell.values),
        "job": job.id,
        "size": list(edit.picture.size),
        "files": sorted(files),
        "method": plan.name,
        "advice": advice(about, plan) or "",
        "asked": dict(job.asked.body),
        "image": job.asked.uploads["image"].id,
        **{name: about[name] for name in ("target", "seed", "seconds", "evaluations", "changed", "passport")},
    }
    job.client.add(Result(id, files, told))
    job.results.append(told)
    job.change()


def _found(mask: Tensor, placed: Placed) -> Image.Image:
    """The mask that a method found, of the picture's own size: white may change."""
    from scumble.attention.maps import resized

    level = 2 * resized(mask[:1].float().cpu(), placed.fit.canvas[::-1]).clamp(0, 1) - 1
    part = placed.upright(level.expand(1, 3, -1, -1)).convert("L")
    whole = Image.new("L", placed.picture.size)
    whole.paste(part, placed.box[:2] if placed.box else (0, 0))
    return whole


def _heat(job: Job, prior: Prior) -> None:
    """Where the model looks for each word of the source."""
    import re

    from scumble.editing.checks import check_words
    from scumble.editing.heat import heat_maps

    recipe = job.asked.recipe
    prompt = recipe.source or ""
    words = list(dict.fromkeys(re.findall(r"\w+", prompt)))
    if not words:
        raise InputError("source: empty; describe what the picture shows")
    if not prior.card.can("control", joint=True):
        raise InputError(f"attention: model '{prior.card.id}' has no attention that can be read")
    check_words(prior.card, [prompt], recipe.force)
    picture = _read(job, None)["image"]
    cells = heat_maps(Placed.of(picture, prior, size=recipe.size), prompt, words, recipe.seed)
    id = token()
    file = job.client.folder / f"{id}.result.png"
    writing.save(sheets.sheet(cells, title=prompt), file)
    told = {"id": id, "file": f"{Path(picture.name).stem}.attention.png", "label": prompt,
            "files": ["result.png"], "method": "attention", "image": job.asked.uploads["image"].id,
            "asked": dict(job.asked.body), "heat": True}  # fmt: skip
    job.client.add(Result(id, {"result.png": file}, told))
    job.results.append(told)
    job.change()
