"""What an editor's tasks achieve, and how fast, against DDS; on one-object scenes of the test split.

    python -m scumble.bench.studies editors success [--editor scenes] [--against dds_fast dds] [--n 10]
        [--seeds 3] [--split test] [--sheet FILE.png]
    python -m scumble.bench.studies editors speed [--editor scenes] [--steps 200] [--guidance 3] [--rounds 5]

success: every task on n scenes that do not show its target yet, the same for all rows; the prompts of the other methods
are the full captions before and after. An editor draws nothing, so it is measured once; the others once for every seed.
Success: at most a quarter of the source's squared error to the true edit is left inside the true mask, and the parser
finds the change. Preserved: PSNR to the source outside the mask. Both of the method's own picture, without the layer.
speed: latent to latent in one process, medians of three times `--rounds` calls, dds once; then with the codec.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import scumble
from scumble.bench.contestants import Contestant, make_ready
from scumble.bench.making import Clocked
from scumble.bench.statistics import interval
from scumble.bench.tables import Column
from scumble.core.pixels import Pixels, to_images, to_pixels
from scumble.core.precision import fast_dtype
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest
from scumble.editing import apply
from scumble.measuring.judge import Judged, Known, judge
from scumble.networks.editor import Editor, Task
from scumble.pictures.sheets import Cell, panel, sheet
from scumble.scenes import Scene, SceneEdit, Split, full_caption, render, scenes
from scumble.scenes.world import COLOURS, GROUNDS, LOOKS, SHAPES, TEXTURES

SEED = 700
BATCH = 20
SHOWN = 2  # scenes of each task on the sheet
BATCHES = (1, 16)
SUCCESS, PRESERVED = Column("success", "success, %", 100), Column("preserved", "preserved, dB")

Apply = Callable[[str, EditRequest], Edit]
"""(the task's name, the request with the full captions) -> the edit."""


@dataclass(frozen=True, eq=False)
class Row:
    """A line of the table: the scores of every task's edits, seed by seed, and the pictures of its first ones."""

    judged: dict[str, list[Judged]]
    pictures: dict[str, list[Pixels]]
    seeds: int

    def means(self, score: Callable[[Judged], float]) -> NDArray[np.float64]:
        """Of every scene that has the score, its mean over the seeds, which are not independent."""
        scenes = [
            [score(each) for each in some[k :: len(some) // self.seeds]]
            for some in self.judged.values()
            for k in range(len(some) // self.seeds)
        ]
        return np.array([float(np.mean(seeds)) for seeds in scenes if not np.isnan(seeds).any()])


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("success", "speed"))
    parser.add_argument("--editor", default="scenes")
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--dtype", default=str(fast_dtype()).removeprefix("torch."))
    parser.add_argument("--against", nargs="*", default=["dds_fast", "dds"])
    parser.add_argument("--n", type=int, default=10, help="scenes of each task")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--steps", type=int, default=200, help="of dds, for the speed")
    parser.add_argument("--guidance", type=float, default=3.0, help="of dds, for the speed")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(words)
    editor, prior = apply.read(asked.editor), scumble.load(asked.model, dtype=asked.dtype)
    editor.check(prior)
    if asked.what == "speed":
        speed(editor, prior, asked.steps, asked.guidance, asked.rounds)
    else:
        success(editor, prior, asked.against, asked.n, asked.seeds, asked.split, asked.sheet)


# What is edited


def changed(scene: Scene, task: Task) -> Scene | None:
    """The scene as the task should make it; None for a task whose name is no word of the world."""
    (thing,), name = scene.things, task.name
    for attribute, names in (("colour", COLOURS), ("shape", SHAPES), ("texture", TEXTURES)):
        if name in names:
            return replace(scene, things=(replace(thing, **{attribute: name}),))
    if name in GROUNDS:
        return replace(scene, background=name)
    return replace(scene, look=name) if name in LOOKS else None


def task_edits(task: Task, split: Split) -> Iterator[SceneEdit]:
    """Edits of a task on scenes of a split that do not show its target yet."""
    for scene in scenes(split, SEED, 1):
        target = changed(scene, task)
        if target is None:
            raise SystemExit(f"task {task.name}: no colour, shape, texture, background or look of the scenes")
        if target != scene:
            said = full_caption(scene), full_caption(target)
            yield SceneEdit(
                kind=task.name,
                source=scene,
                targets=(target,),
                source_caption=said[0],
                target_caption=said[1],
                instruction=task.name,
            )


# Success


def success(
    editor: Editor, prior: Prior, against: Sequence[str], n: int, seeds: int, split: Split, out: Path | None
) -> None:
    chosen = {task.name: list(islice(task_edits(task, split), n)) for task in editor.tasks}
    rows = {"the editor": row(by_editor(editor, prior), chosen, prior.card.size, 1)}
    print(table(rows), flush=True)
    for text in against:
        rows[text] = row(by_method(text, prior), chosen, prior.card.size, seeds)
        print(table(rows), flush=True)
    if out is not None:
        pictures(chosen, rows, prior.card.size).save(out)


def by_editor(editor: Editor, prior: Prior) -> Apply:
    def apply_(task: str, request: EditRequest) -> Edit:
        mute = replace(request, source=None, target=None, given={"editor": editor})
        return scumble.TrainedEditor(task=task)(prior, mute)

    return apply_


def by_method(text: str, prior: Prior) -> Apply:
    """A method by its name, with the values that the model's card recommends."""
    method = make_ready(Contestant(label=text, name=text), prior.card).method
    return lambda task, request: method(prior, request)


@torch.no_grad()
def row(edit: Apply, chosen: Mapping[str, Sequence[SceneEdit]], side: int, seeds: int) -> Row:
    """Every task's edits, once for each of the first `seeds` seeds."""
    found = Row({}, {}, seeds)
    for task, some in chosen.items():
        known = [Known.of(each, side) for each in some]
        results: list[Pixels] = []
        for seed in range(seeds):
            for k in range(0, len(some), BATCH):
                part = some[k : k + BATCH]
                request = EditRequest(
                    image=to_images([each.source for each in known[k : k + BATCH]]),
                    source=[each.source_caption for each in part],
                    target=[each.target_caption for each in part],
                    seed=1000 * seed + k,
                )
                results += list(to_pixels(edit(task, request).raw))
        found.judged[task] = [judge(a, b) for a, b in zip(known * seeds, results, strict=True)]
        found.pictures[task] = results[:SHOWN]
    return found


def table(rows: Mapping[str, Row]) -> str:
    """Markdown: success and preservation of all edits, then success and preservation of each task."""
    first = next(iter(rows.values()))
    lines = [f"| | n | seeds | {SUCCESS.title} | {PRESERVED.title} |", "|---|--:|--:|--:|--:|"]
    for name, one in rows.items():
        right = one.means(lambda each: float(bool(each.success)))
        kept = one.means(lambda each: np.nan if each.preserved is None else each.preserved)
        cells = SUCCESS.show(interval(right)), PRESERVED.show(interval(kept))
        lines.append(f"| {name} | {len(right)} | {one.seeds} | {' | '.join(cells)} |")
    lines += ["", f"| | {' | '.join(first.judged)} |", f"|---|{'--:|' * len(first.judged)}"]
    for name, one in rows.items():
        each = [_each(some) for some in one.judged.values()]
        lines.append(f"| {name} | {' | '.join(each)} |")
    return "\n".join(lines) + "\n"


def _each(some: Sequence[Judged]) -> str:
    """Success and, where anything had to stay, what is preserved."""
    values = [each.preserved for each in some if each.preserved is not None]
    share = f"{100 * np.mean([bool(each.success) for each in some]):.0f}"
    return f"{share} ({np.mean(values):.1f})" if values else share


def pictures(chosen: Mapping[str, Sequence[SceneEdit]], rows: Mapping[str, Row], side: int) -> Image.Image:
    """A sheet: a line for each task's first scenes, with the source, the true edit, and every row's result."""
    cells: list[Cell] = []
    for task, some in chosen.items():
        for k, each in enumerate(some[:SHOWN]):
            shown = {"source": render(each.source, side), "true edit": render(each.targets[0], side)}
            shown |= {name: one.pictures[task][k] for name, one in rows.items()}
            cells += [
                Cell(panel(Image.fromarray(p), 128, 256), [f"{task}: {name}"]) for name, p in shown.items()
            ]
    return sheet(cells, columns=len(rows) + 2)


# Speed


@torch.no_grad()
def speed(editor: Editor, prior: Prior, steps: int, guidance: float, rounds: int) -> None:
    task, side = editor.tasks[0], prior.card.size
    some = list(islice(task_edits(task, "validation"), BATCHES[-1]))
    dds = scumble.DDS(steps=steps, guidance=guidance)
    print(
        "| pictures at once | dds, s a picture | editor | dds / editor | editor and codec | dds and codec / that |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for b in BATCHES:
        image = to_images([render(each.source, side) for each in some[:b]])
        z, which = prior.encode(image), torch.zeros(b, dtype=torch.int64)
        asked = EditRequest(
            image=image,
            source=[each.source_caption for each in some[:b]],
            target=[each.target_caption for each in some[:b]],
        )
        runs: dict[str, Callable[[], object]] = {
            "editor": lambda z=z, which=which: editor(z, which),
            "codec": lambda image=image, z=z: (prior.encode(image), prior.decode(z)),
        }
        once = {name: median(run, 3 * rounds) / b for name, run in runs.items()}
        clocked = Clocked(prior)
        began = time.perf_counter()
        dds(clocked, asked)
        once["dds"] = (time.perf_counter() - began - clocked.seconds) / b
        whole = once["editor"] + once["codec"]
        print(
            f"| {b} | {once['dds']:.3f} | {once['editor']:.5f} | {once['dds'] / once['editor']:.0f} | {whole:.4f} | "
            f"{(once['dds'] + once['codec']) / whole:.0f} |",
            flush=True,
        )


def median(run: Callable[[], object], rounds: int) -> float:
    """Seconds of a call, the median of `rounds` after one that warms up."""
    run()
    taken: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
