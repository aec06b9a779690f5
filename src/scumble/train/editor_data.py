"""An editor's training pictures: read, matched to tasks, and encoded once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.train.editor_recipe import Data, EditorRecipe, Samples, Scenes, captions_of
from scumble.train.tasks import Match, Matcher

log = logging.getLogger(__name__)

AT_ONCE = 8  # pictures that are encoded together
NAMED = 3  # unreadable files that a message names


@dataclass(frozen=True)
class Picture:
    """One picture (PIL) with its caption."""

    name: str
    picture: Any
    caption: str


@dataclass(frozen=True, eq=False)
class Examples:
    """Latents (n, c, h, w) in half precision, their canvas (H, W) in pixels, captions, the tasks that fit each.

    owns: of each picture the tasks whose target it shows already. held_out: rows that training never draws.
    """

    latents: Tensor
    canvas: tuple[int, int]
    captions: Sequence[str]
    matches: Sequence[Sequence[Match]]
    owns: Sequence[Sequence[int]]
    held_out: range
    unfit: int

    @property
    def count(self) -> int:
        """How many pictures training draws from: the first ones."""
        return self.held_out.start


def examples(recipe: EditorRecipe, prior: Prior, folder: Path, *, skip_bad: bool = False) -> Examples:
    """The recipe's pictures, encoded; what fits no task is counted and left out.

    Paths in the recipe are relative to `folder`. Raises InputError for no or unreadable pictures (unless `skip_bad`),
    for captions that fit no task, and for pictures that become latents of different sizes.
    """
    matcher = Matcher(recipe.tasks, recipe.words)
    leading = [k for k, task in enumerate(recipe.tasks) if task.target.strip()]  # a removal leads to no words
    backwards = Matcher([_reversed(recipe.tasks[k]) for k in leading], recipe.words)
    encoder = Encoder(prior, recipe.size)
    captions: list[str] = []
    matches: list[list[Match]] = []
    unfit: list[str] = []
    for each in pictures(recipe.data, prior, folder, recipe.training.seed, skip_bad=skip_bad):
        if found := matcher(each.caption):
            encoder.add(each)
            captions.append(each.caption)
            matches.append(found)
        else:
            unfit.append(each.caption)
    if not captions:
        first = "; ".join(map(repr, unfit[:NAMED]))
        raise InputError(
            f"tasks: none of {len(unfit)} captions fits a task's source template (the first are {first}); "
            "change the templates or the captions"
        )
    n = len(captions)
    held = min(recipe.data.held_out, max(n // 5, 1)) if n > 1 else 0
    log.info("editor: %d pictures fit a task, %d fit none, %d are kept for the grids", n, len(unfit), held)
    return Examples(
        latents=encoder.latents(),
        canvas=encoder.canvas,
        captions=captions,
        matches=matches,
        owns=[[leading[match.task] for match in backwards(caption)] for caption in captions],
        held_out=range(n - held, n),
        unfit=len(unfit),
    )


def _reversed(task: Any) -> Any:
    """A pattern that finds what the task leads to, where its target has no slot of its own."""
    from scumble.networks.editor import Task

    return Task(name=task.name, source=task.target, target="\x00")


class Encoder:
    """Pictures to latents, a few at a time as they come; all on one canvas."""

    def __init__(self, prior: Prior, size: int | None):
        self._prior, self._size = prior, size
        self._waiting: list[Tensor] = []
        self._made: list[Tensor] = []
        self.canvas: tuple[int, int] = (0, 0)

    def add(self, picture: Picture) -> None:
        """Raises InputError for a picture of another shape on the canvas than those before."""
        from scumble.pictures.placed import Placed
        from scumble.pictures.reading import read

        placed = Placed.of(read(picture.picture), self._prior, size=self._size)
        height, width = placed.image.shape[-2:]
        if self.canvas not in ((0, 0), (height, width)):
            raise InputError(
                f"data: {picture.name} is {width}x{height} on the model's canvas and others are "
                f"{self.canvas[1]}x{self.canvas[0]}; an editor trains on one shape: crop the pictures alike"
            )
        self.canvas = (height, width)
        self._waiting.append(placed.image)
        if len(self._waiting) == AT_ONCE:
            self._encode()

    def latents(self) -> Tensor:
        """All of them: (n, c, h, w) in half precision."""
        if self._waiting:
            self._encode()
        return torch.cat(self._made)

    @torch.no_grad()
    def _encode(self) -> None:
        self._made.append(self._prior.encode(torch.cat(self._waiting)).half().cpu())
        self._waiting = []


# Sources ---------------------------------------------------------------------------------------------------


def pictures(data: Data, prior: Prior, folder: Path, seed: int, *, skip_bad: bool) -> Iterator[Picture]:
    """The pictures of whichever source the recipe names."""
    if data.scenes:
        return _scenes(data.scenes, seed)
    if data.samples:
        return _samples(data.samples, prior, folder, seed)
    if data.folder:
        return _folder(folder / data.folder, skip_bad)
    return _datasets(data, folder)


def _scenes(wanted: Scenes, seed: int) -> Iterator[Picture]:
    from PIL import Image

    from scumble.scenes import full_caption, render, scenes
    from scumble.train.data import SIDE, canvases

    if wanted.wide:
        drawn = ((canvas.scene, canvas.pixels) for canvas in canvases(seed + 100, count=wanted.objects))
    else:
        drawn = ((scene, render(scene, SIDE)) for scene in scenes("train", seed + 100, wanted.objects))
    for k, (scene, pixels) in enumerate(islice(drawn, wanted.count)):
        yield Picture(f"scene {k}", Image.fromarray(pixels), full_caption(scene))


def _samples(wanted: Samples, prior: Prior, folder: Path, seed: int) -> Iterator[Picture]:
    from PIL import Image

    from scumble.core.pixels import to_pixels
    from scumble.core.request import EditRequest
    from scumble.methods.sampling import Sampling

    captions = captions_of(folder / wanted.captions)
    method = Sampling(steps=wanted.steps, guidance=wanted.guidance, sampler=wanted.sampler)
    side = prior.card.size
    for k in range(wanted.count):
        caption = captions[k % len(captions)]
        made = method(prior, EditRequest(size=(side, side), target=caption, seed=seed + k))
        if k % 50 == 0:
            log.info("editor: %d of %d pictures sampled from the prior", k, wanted.count)
        yield Picture(f"sample {k}", Image.fromarray(to_pixels(made.raw)[0]), caption)


def _folder(folder: Path, skip_bad: bool) -> Iterator[Picture]:
    """A folder as datasets' imagefolder has it: metadata.jsonl with file_name and text."""
    from PIL import Image, UnidentifiedImageError

    table = folder / "metadata.jsonl"
    if not table.is_file():
        raise InputError(
            f'{table}: no such file; write a line for each picture: {{"file_name": ..., "text": ...}}'
        )
    rows = _rows(table)
    bad: list[str] = []
    good = 0
    for row in rows:
        path = folder / str(row.get("file_name", ""))
        caption = row.get("text")
        try:
            if not isinstance(caption, str) or not caption.strip():
                raise ValueError("no text")
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
            bad.append(path.name or "a row without file_name")
            continue
        good += 1
        yield Picture(path.name, picture, caption)
    if bad and (not skip_bad or not good):
        shown = ", ".join(bad[:NAMED]) + (", ..." if len(bad) > NAMED else "")
        raise InputError(
            f"{folder}: {len(bad)} of {len(rows)} pictures have no text or cannot be read ({shown}); mend them"
            + ("" if not good else ", or leave them out with --skip-bad")
        )
    if bad:
        log.info("editor: %d of %d pictures left out (no text, or unreadable)", len(bad), len(rows))
    if not rows:
        raise InputError(f"{table}: it is empty; write a line for each picture")


def _rows(table: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for k, line in enumerate(table.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise InputError(f"{table}: line {k} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{table}: line {k} is not an object with file_name and text")
        rows.append(cast("dict[str, Any]", row))
    return rows


def _datasets(data: Data, folder: Path) -> Iterator[Picture]:
    """Parquet files and webdatasets, through the library that reads them."""
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        raise InputError(
            "data: reading parquet and webdataset needs the library datasets; install scumble[train]"
        ) from None
    kind, pattern = ("parquet", data.parquet) if data.parquet else ("webdataset", data.webdataset)
    try:
        rows: Iterable[dict[str, Any]] = load_dataset(
            kind, data_files=str(folder / str(pattern)), split="train", streaming=True
        )  # pyright: ignore[reportUnknownVariableType]
        for k, row in enumerate(rows):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield _of_row(cast("dict[str, Any]", row), data, k)
    except (OSError, ValueError) as error:
        raise InputError(f"data: {kind} {pattern}: cannot be read ({error})") from error


def _of_row(row: dict[str, Any], data: Data, k: int) -> Picture:
    for name in (data.image, data.text):
        if name not in row:
            raise InputError(f"data: row {k} has no column {name!r}; it has {', '.join(row)}")
    text = row[data.text]
    return Picture(f"row {k}", row[data.image], text.decode() if isinstance(text, bytes) else str(text))
