"""What each part of an editor's training is for: short trainings that differ in one thing.

    python scripts/editor_ablations.py train [--recipe FILE] [--only NAME ...] -o runs/ablations
    python scripts/editor_ablations.py show -o runs/ablations [--n 10] [--split test] [--figure FILE.png]
        [--sheet FILE.png]

train: every variation of the recipe, one after the other; the same command goes on after a stop. Every 100 steps the
editor (the running average of its weights) edits six validation scenes for each task.
show: success and preservation of the trained editors, as in the study `editors`; their curves; and one scene edited by
all of them.

    error left   mean share of the source's squared error to the true edit that is left inside the true mask
    preserved    PSNR to the source outside the mask, dB
    variety      standard deviation of the edited latents over the scenes of a task, as a share of that of the sources:
                 0 is a network that paints one picture whatever it is given
"""

from __future__ import annotations

import argparse
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import scumble
from scumble.bench.studies import editors
from scumble.core.errors import InputError
from scumble.core.pixels import to_images, to_pixels
from scumble.core.prior import Prior
from scumble.editing import apply
from scumble.measuring.judge import Known, judge
from scumble.networks.editor import Editor
from scumble.pictures.sheets import Cell, blank, panel, sheet
from scumble.reproduce.drawing import COLOURS, DPI, INK, STYLE, WIDTH, check_matplotlib
from scumble.scenes import Split, full_caption, render, scenes
from scumble.train.editor import EditorRun, train_editor
from scumble.train.editor_recipe import EditorRecipe, Samples, read

EVERY = 100  # steps between two points of a curve
SCENES = 6  # validation scenes for each task at a point
CAPTIONS = 1000  # pictures that the model makes itself
STRONG = 7.5
SEED = 900

RECIPE = "the recipe"

Change = Callable[[EditorRecipe], EditorRecipe]


def _loss(**changes: Any) -> Change:
    return lambda recipe: replace(recipe, loss=replace(recipe.loss, **changes))


def _seed(seed: int) -> Change:
    return lambda recipe: replace(recipe, training=replace(recipe.training, seed=seed))


def _alone(recipe: EditorRecipe) -> EditorRecipe:
    return replace(recipe, tasks=recipe.tasks[:1], reverse={})


def _samples(recipe: EditorRecipe) -> EditorRecipe:
    made = Samples(captions="captions.txt", count=CAPTIONS, steps=20)
    return replace(recipe, data=replace(recipe.data, scenes=None, samples=made))


VARIATIONS: Mapping[str, Change] = {
    RECIPE: lambda recipe: recipe,
    "SDS": _loss(score="sds"),
    "no warm-up": _loss(guidance=(2.5, 2.5), warm_up=0),
    "no identity term": _loss(identity=(0.0, 0.0)),
    "one task": _alone,
    "cycle term": _loss(cycle=0.3),
    "own samples": _samples,
    "strong guidance": _loss(guidance=(1.0, STRONG)),
    "strong, no warm-up": _loss(guidance=(STRONG, STRONG), warm_up=0),
    "seed 1": _seed(1),
    "seed 2": _seed(2),
}
"""Name -> what of the recipe changes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "show"))
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/scenes-editor-ablations.yaml"))
    parser.add_argument("--only", nargs="*", choices=tuple(VARIATIONS), default=list(VARIATIONS))
    parser.add_argument("--n", type=int, default=10, help="scenes of each task")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if asked.what == "train":
            train(asked.out, read(asked.recipe), asked.only)
        else:
            trained = [name for name in asked.only if (folder_of(asked.out, name) / "config.json").exists()]
            show(asked.out, trained, asked.n, asked.split)
            if asked.figure is not None:
                figure(asked.out, trained).save(asked.figure)
            if asked.sheet is not None:
                pictures(asked.out, trained).save(asked.sheet)
    except InputError as error:
        raise SystemExit(f"ablations: {error}") from None


def folder_of(out: Path, name: str) -> Path:
    return out / name.replace(", ", "-").replace(" ", "-")


# Training


def train(out: Path, recipe: EditorRecipe, names: Sequence[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "captions.txt").write_text("\n".join(_captions()) + "\n", encoding="utf-8")
    prior = scumble.load(recipe.prior, dtype="auto")
    for name in names:
        folder = folder_of(out, name)
        if not (folder / "config.json").exists():
            logging.info("ablations: %s", name)
            _train(VARIATIONS[name](recipe), prior, out, folder)


def _captions() -> list[str]:
    """Captions of one-object scenes of the training stream."""
    return [full_caption(scene) for scene in islice(scenes("train", SEED, 1), CAPTIONS)]


def _train(recipe: EditorRecipe, prior: Prior, out: Path, folder: Path) -> None:
    def watch(run: EditorRun) -> None:
        if run.step % EVERY == 0:
            with (run.folder / "curve.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": run.step, **measured(run.averaged(), prior)}) + "\n")

    train_editor(recipe, folder, folder=out, prior=prior, watch=watch)


@torch.no_grad()
def measured(editor: Editor, prior: Prior) -> dict[str, Any]:
    """The three figures of a point, and the error left of each task, on validation scenes."""
    left: dict[str, float] = {}
    preserved: list[float] = []
    variety: list[float] = []
    for k, task in enumerate(editor.tasks):
        some = list(islice(editors.task_edits(task, "validation"), SCENES))
        known = [Known.of(each, prior.card.size) for each in some]
        z = prior.encode(to_images([each.source for each in known]))
        x = editor(z, torch.full((len(some),), k))
        scores = [judge(a, b, read=False) for a, b in zip(known, to_pixels(prior.decode(x)), strict=True)]
        left[task.name] = float(np.mean([score.left for score in scores if score.left is not None]))
        preserved += [score.preserved for score in scores if score.preserved is not None]
        variety.append(float(x.std(0).mean() / z.std(0).mean()))
    return {
        "left": float(np.mean(list(left.values()))),
        "preserved": float(np.mean(preserved)) if preserved else None,
        "variety": float(np.mean(variety)),
        "tasks": left,
    }


# What is shown


def show(out: Path, names: Sequence[str], n: int, split: Split) -> None:
    """Prints the table of the study `editors`, a row for each variation; then the last points of the curves."""
    rows: dict[str, editors.Row] = {}
    for name in names:
        editor = apply.read(str(folder_of(out, name)))
        prior = _prior(editor)
        chosen = {task.name: list(islice(editors.task_edits(task, split), n)) for task in editor.tasks}
        rows[name] = editors.row(editors.by_editor(editor, prior), chosen, prior.card.size, 1)
    print(editors.table(rows))
    print("| | error left | preserved, dB | variety |\n|---|--:|--:|--:|")
    for name in names:
        last = curve(out, name)[-1]
        print(f"| {name} | {last['left']:.2f} | {last['preserved']:.1f} | {last['variety']:.2f} |")


@cache
def _loaded(name: str) -> Prior:
    return scumble.load(name, dtype="auto")


def _prior(editor: Editor) -> Prior:
    return _loaded(str(editor.about["prior"]))


def curve(out: Path, name: str) -> list[dict[str, Any]]:
    """The points of a variation, by step; those of a run that went on twice count once."""
    lines = (folder_of(out, name).with_name(f"{folder_of(out, name).name}.log") / "curve.jsonl").read_text(
        encoding="utf-8"
    )
    points = {point["step"]: point for point in map(json.loads, lines.splitlines())}
    return [points[step] for step in sorted(points)]


def figure(out: Path, names: Sequence[str]) -> Image.Image:
    """Error left, preservation and variety against the step; seeds of the recipe are thin lines of its colour."""
    check_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(dict[Any, Any](STYLE)):
        drawn = Figure(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
        axes = drawn.subplots(1, 3)
        others = [name for name in names if not name.startswith("seed") and name != RECIPE]
        for name in names:
            points = curve(out, name)
            seed = name.startswith("seed")
            look: dict[str, Any] = {"color": INK, "alpha": 0.35 if seed else 1, "linewidth": 1 if seed else 2}
            if name in others:
                k = others.index(name)
                look = {"color": COLOURS[k % len(COLOURS)], "linestyle": "-" if k < len(COLOURS) else "--"}
            for axis, key in zip(axes, ("left", "preserved", "variety"), strict=True):
                axis.plot([p["step"] for p in points], [p[key] for p in points], label=name, **look)
        for axis, title in zip(axes, ("error left", "preserved [dB]", "variety"), strict=True):
            axis.set_title(title)
            axis.set_xlabel("step")
        drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        file = io.BytesIO()
        drawn.savefig(file, format="png")
    return Image.open(file).convert("RGB")


@torch.no_grad()
def pictures(out: Path, names: Sequence[str]) -> Image.Image:
    """One validation scene, a row for each variation: every task of it."""
    cells: list[Cell] = []
    tasks = apply.read(str(folder_of(out, names[0]))).tasks
    scene = next(scene for scene in scenes("validation", editors.SEED, 1) if scene.look == "day")
    for name in names:
        editor = apply.read(str(folder_of(out, name)))
        prior, known = _prior(editor), [task.name for task in editor.tasks]
        z = prior.encode(to_images([render(scene, prior.card.size)]))
        for task in tasks:
            if task.name not in known:
                cells.append(blank())
                continue
            x = editor(z, torch.tensor([known.index(task.name)]))
            shown = Image.fromarray(to_pixels(prior.decode(x))[0])
            cells.append(Cell(panel(shown, 128, 256), [name, task.name]))
    return sheet(cells, columns=len(tasks))


if __name__ == "__main__":
    main()
