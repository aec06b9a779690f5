"""Results: their names, what stands beside them, what is said about them."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scumble.core.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.request import Edit, Step
    from scumble.editing.plan import Plan
    from scumble.pictures.reading import Picture

FRAMES = 40  # of a film, at most
LITTLE, MUCH = 0.005, 0.8  # shares of what may change that call for advice
GLOBAL = frozenset(  # words of edits that concern a whole picture
    {"anime", "autumn", "background", "cartoon", "dawn", "day", "drawing", "fog", "light", "look", "night"}
    | {"painting", "photo", "photograph", "rain", "season", "sketch", "sky", "snow", "spring", "style"}
    | {"summer", "sunset", "watercolour", "watercolor", "weather", "winter"}
)


@dataclass(frozen=True)
class Delivery:
    """How results are handed over: where to, and what beside them ("layer", "compare", "film")."""

    out: Path | None
    extras: tuple[str, ...] = ()
    overwrite: bool = False
    metadata: bool = True
    as_json: bool = False

    def paths(
        self, picture: Path, method: str, targets: Sequence[str], seeds: Sequence[int]
    ) -> tuple[list[Path], list[Path]]:
        """The results' paths, one for every target and seed, and the contact sheet's where they are several."""
        if len(targets) * len(seeds) == 1:
            return [self.out or default(picture, method)], []
        folder = self.out or default(picture, method, suffix="")
        return [folder / name for name in names(targets, seeds)], [folder / "sheet.png"]

    def beside(self, path: Path) -> list[Path]:
        """What is written beside a result, in the order of `extras`."""
        suffixes = {"film": "gif"}
        return [path.with_name(f"{path.stem}.{extra}.{suffixes.get(extra, 'png')}") for extra in self.extras]

    def check(self, paths: Sequence[Path], picture: Picture, inputs: Sequence[Path | None]) -> None:
        """Raises InputError for what could not be written; warns where the format is not exact."""
        from scumble.pictures import reading, writing

        if len(paths) > 1:
            check_folder(paths[0].parent)
            if paths[0].parent.suffix.lower() in reading.FORMATS:
                raise InputError(f"{paths[0].parent}: several results go to a folder; name one with -o")
        for path in paths if paths[0].parent.is_dir() or len(paths) == 1 else ():
            alpha = picture.alpha is not None
            writing.check_output(path, inputs, alpha=alpha, size=picture.size, overwrite=self.overwrite)
            for beside in self.beside(path):
                writing.check_output(beside, inputs, overwrite=self.overwrite, also=[".gif"])
        if paths[0].suffix.lower() in (".jpg", ".jpeg"):
            warnings.warn(
                f"{paths[0]}: JPEG rounds every pixel anew, so that what was kept is not exactly the input's; "
                ".png and .webp keep it",
                stacklevel=2,
            )

    def save(self, path: Path, edit: Edit, plan: Plan, film: Film | None = None) -> None:
        """Write a result, complete or not at all, and then what stands beside it."""
        from scumble.pictures import sheets, writing

        assert edit.picture is not None
        assert edit.layer is not None
        writing.save(edit.picture, path, edit.provenance if self.metadata else None)
        for extra, beside in zip(self.extras, self.beside(path), strict=True):
            if extra == "layer":
                writing.save(edit.layer, beside)
            elif extra == "compare":
                words = (str(plan.request.source or ""), str(plan.request.target or ""))
                writing.save(sheets.compare(plan.picture.rgb, edit.picture, *words), beside)
            elif film:
                sheets.film(film.frames, beside)

    def tell(self, paths: Sequence[Path], told: Mapping[str, Any] | None = None) -> None:
        """Results on stdout: the paths of their files, or all that is known of them."""
        if self.as_json:
            file, *beside = map(str, paths)
            typer.echo(json.dumps({"file": file, "beside": beside, **(told or {})}))
        else:
            for path in paths:
                typer.echo(str(path))


# Names ---------------------------------------------------------------------------------------------------


def default(picture: Path, method: str, suffix: str = ".png") -> Path:
    """IN.METHOD.png beside the input, or the first of IN.METHOD-2.png, ... that is not taken."""
    kind = re.sub(r"[^\w.-]", "-", method.rpartition(":")[2])
    first = picture.with_name(f"{picture.stem}.{kind}{suffix}")
    others = (first.with_name(f"{picture.stem}.{kind}-{k}{suffix}") for k in count(2))
    return first if not first.exists() else next(path for path in others if not path.exists())


def names(targets: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """A file name for every target and seed, saying what sets it apart: "a-blue-mug.seed-3.png"."""
    made: dict[str, None] = {}
    for target in targets:
        words = re.sub(r"\W+", "-", target).strip("-").lower()[:60] or "edit"
        stem = next(s for s in _numbered(words) if f"{s}{_seed(seeds, seeds[0])}.png" not in made)
        made |= dict.fromkeys(f"{stem}{_seed(seeds, seed)}.png" for seed in seeds)
    return list(made)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{k}" for k in count(2))


def _seed(seeds: Sequence[int], seed: int) -> str:
    return f".seed-{seed}" if len(seeds) > 1 else ""


def check_folder(folder: Path) -> None:
    """Raises InputError where a folder cannot be made, or has something else in its place."""
    there = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"{folder}: cannot be made in {there}; choose another with -o")


def make_folder(folder: Path) -> None:
    """Raises InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another with -o") from error


# Telling -------------------------------------------------------------------------------------------------


class Film:
    """Previews of an edit, few enough for a film: an `on_step`."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self.frames = [self._small(plan.picture.rgb)]

    def __call__(self, step: Step) -> None:
        if step.k % max(1, step.n // FRAMES) == 0 or step.k == step.n:
            self.frames.append(self._small(self._plan.show(step.preview())))

    @staticmethod
    def _small(picture: Image.Image) -> Image.Image:
        from scumble.pictures.sheets import panel

        return panel(picture, 256, 512)


def record(path: Path, edit: Edit, plan: Plan) -> dict[str, Any]:
    """What --json says of a result; memory in bytes, `changed` as a share of the picture."""
    from scumble.core import machine

    passport: dict[str, Any] = dict(edit.provenance)
    return {
        "file": str(path),
        "target": passport["target"],
        "seed": passport["seed"],
        "seconds": passport["seconds"],
        "evaluations": edit.evaluations,
        "peak_memory": machine.peak(str(plan.loaded.get("device") or "cpu")),
        "changed": passport["layer"]["changed"],
        "passport": passport,
    }


def summary(told: Mapping[str, Any]) -> str:
    """What an edit cost and did."""
    from scumble.pictures.sheets import percent

    return (
        f"{told['file']}: {told['seconds']:.1f} s, {told['evaluations']} evaluations of the network, peak memory "
        f"{told['peak_memory'] / 1e9:.2f} GB, {percent(told['changed'])} of the picture changed, seed {told['seed']}"
    )


def advice(told: Mapping[str, Any], plan: Plan) -> str | None:
    """A line of advice where hardly anything changed, or nearly all without a wish for it."""
    may = 1.0
    if plan.mask:
        may = 1 - plan.mask.values.histogram()[0] / (plan.picture.size[0] * plan.picture.size[1])
    if told["changed"] / may < LITTLE:
        return (
            "hardly anything changed: name the change, and the thing it happens to, more fully in both prompts; "
            "then try more steps, guidance or strength"
        )
    wish = plan.request
    if (
        told["changed"] <= MUCH
        or plan.manner.form != "latent"
        or concerns_all(str(wish.source or ""), str(wish.target))
    ):
        return None
    if plan.manner.keep == "none":
        return "nothing was kept of the input: without --keep none, what was not edited stays as it was"
    return (
        "nearly everything changed: use the same words in both prompts for what shall stay, less guidance or "
        "strength, or a --mask"
    )


def concerns_all(source: str, target: str) -> bool:
    """Whether the prompts differ in what concerns a whole picture (its background, light, style).

    Told by the words that differ and the ones that follow them: "a white background" to "a sky background".
    """
    from difflib import SequenceMatcher

    a, b = (re.findall(r"\w+", text.lower()) for text in (source, target))
    said: set[str] = set()
    for kind, a0, a1, b0, b1 in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if kind != "equal":
            said |= {*a[a0 : a1 + 1], *b[b0 : b1 + 1]}
    return not source or not said.isdisjoint(GLOBAL)
