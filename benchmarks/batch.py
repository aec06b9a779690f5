"""Batches: how fast many edits are against as many single ones, and how long a long manifest is checked.

    python benchmarks/batch.py check [--rows 100000] [--pictures 1000]
    python benchmarks/batch.py together [--rows 32] [--steps 6] [--rounds 3]

`together` compares processor time, which other programs on the machine hardly change. batch_ray.py measures Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

COLOURS = "red", "blue", "green", "yellow", "black", "orange"
SHAPES = "star", "square", "triangle", "circle"


def pictures(folder: Path, number: int, size: int = 128) -> list[str]:
    """Circles of several colours, no two alike."""
    for i in range(number):
        image = Image.new("RGB", (size, size), "white")
        ImageDraw.Draw(image).ellipse((20 + i % 17, 20 + i % 29, 70 + i % 17, 70 + i % 29), COLOURS[i % 6])
        image.putpixel((i % size, i // size % size), (i % 256, i // 256 % 256, 7))
        image.save(folder / f"p{i}.png")
    return [f"p{i}.png" for i in range(number)]


def manifest(folder: Path, rows: int, of: int, targets: int = 1) -> Path:
    """`rows` edits of `of` pictures; `targets` rows in a row are of one picture, source and seed."""
    names = pictures(folder, of)
    path = folder / "edits.jsonl"
    with path.open("w") as file:
        for i in range(rows):
            k = i // targets
            colour, shape = COLOURS[k % of % 6], SHAPES[i % 4]
            row = {
                "id": f"r{i}",
                "image": names[k % of],
                "source": f"a {colour} circle on a white background",
            }
            row |= {"target": f"a {COLOURS[i % 6]} {shape} on a white background", "seed": k}
            file.write(json.dumps(row) + "\n")
    return path


def check(rows: int, of: int) -> None:
    """Seconds and memory of the check of a long manifest, in a process of its own."""
    code = """
import sys, time
from pathlib import Path
from scumble.batch.check import check
from scumble.batch.manifest import read
from scumble.batch.rows import Namer, Reading
from scumble.core.machine import peak
from scumble.editing.recipe import Recipe
path = Path(sys.argv[1])
started, cpu = time.perf_counter(), time.process_time()
checked = check(read(path), Reading(Recipe(""), path.parent), Namer(None))
print(len(checked.rows), len(checked.faults), time.perf_counter() - started, time.process_time() - cpu, peak())
"""
    with tempfile.TemporaryDirectory() as name:
        path = manifest(Path(name), rows, of)
        said = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
    good, bad, seconds, cpu, memory = said.stdout.split()
    print(
        f"{good} good rows of {of} pictures, {bad} faults: {float(seconds):.1f} s (processor: {float(cpu):.1f} s), ",
        end="",
    )
    print(f"peak memory {int(memory) / 1e9:.2f} GB, the loading of the model included")


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def processes(rows: Sequence[Any], folder: Path, method: str, steps: int) -> float:
    """Processor seconds of a row where each is made by a `scumble edit` of its own, as in a shell script."""

    def children() -> float:
        return os.times().children_user + os.times().children_system

    before = children()
    for row in rows:
        asked = row.recipe
        line = ["edit", asked.image, "--source", asked.source, "--target", asked.target, "--seed", asked.seed]
        line += [
            "--method",
            method,
            "--set",
            f"steps={steps}",
            "-o",
            folder / f"process-{row.output}",
            "--quiet",
        ]
        subprocess.run([sys.executable, "-m", "scumble", *map(str, line)], check=True, capture_output=True)
    return (children() - before) / len(rows)


def together(rows: int, steps: int, rounds: int) -> None:
    """Processor time of rows made alone, in a process each or with one loaded model, and together; all save files."""
    import scumble
    from scumble.batch.check import check
    from scumble.batch.groups import groups
    from scumble.batch.making import Maker
    from scumble.batch.manifest import read
    from scumble.batch.rows import Namer, Reading
    from scumble.editing.recipe import Recipe
    from scumble.pictures import writing

    prior = scumble.load("scenes", device="cpu")
    for method in ("dds_fast", "sdedit"):
        usual = Recipe("", method=method, settings={"steps": steps})
        for targets in (1, 8):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                path = manifest(folder, rows, rows // targets, targets)
                checked = check(read(path), Reading(usual, folder), Namer(None))

                def alone(rows: Sequence[Any] = checked.rows, folder: Path = folder) -> None:
                    for row in rows:
                        edit = scumble.edit(**{**vars(row.recipe), **scumble_on(prior)})
                        writing.save(edit.picture, folder / f"alone-{row.output}", edit.provenance)

                def batch(most: int, folder: Path = folder, checked: Any = checked) -> Callable[[], None]:
                    def run() -> None:
                        out = Path(tempfile.mkdtemp(dir=folder))
                        maker = Maker(out, "m")
                        maker.planner.lend(checked.rows[0].recipe, prior)
                        for group in groups(checked.rows, checked, most):
                            maker(group)

                    return run

                contestants = {"alone": alone, **{f"--batch {n}": batch(n) for n in (1, 8, 16)}}
                times: dict[str, list[float]] = {name: [] for name in contestants}
                for _ in range(rounds):
                    for name, work in contestants.items():
                        times[name].append(timed(work))
                shell = processes(checked.rows[:3], folder, method, steps)
            base = statistics.median(times["alone"])
            for name, found in times.items():
                each = statistics.median(found)
                print(
                    f"{method}, {targets} targets a picture, {name}: {each / rows:.3f} s a row, {base / each:.2f} x; "
                    f"{shell * rows / each:.1f} x a process each ({shell:.2f} s)"
                )


def scumble_on(prior: Any) -> dict[str, Any]:
    """A loaded model in place of its name, for a recipe's fields."""
    from dataclasses import fields

    from scumble.core.loading import Loading

    return {**{f.name: f.default for f in fields(Loading)}, "model": prior}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["check", "together"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.what == "check":
        check(asked.rows or 100_000, asked.pictures)
    else:
        together(asked.rows or 32, asked.steps, asked.rounds)


if __name__ == "__main__":
    main()
