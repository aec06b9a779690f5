"""Imagic and UniTune on the scenes bench: the model is tuned on every picture before its edit.

    python scripts/tuned_edits.py ROW ... -o runs/tuned [--tune rate=1e-5 ...] [--split test] [--n 30]

ROW: a row of `scumble bench`, such as imagic or imagic:eta=0.5,guidance=3; rows of one method share the trainings.
--tune: a value of the training. Values that are not named are the model card's, then the method's own.

The folder is one of `scumble bench scenes`: rows that are there are not made again, `scumble bench report` shows them,
and rows of other methods on the same edits may stand beside them. The trainings are kept in OUT/tuned; a sheet of the
first edits is OUT/METHOD.png. No-ops are left out: they would take minutes for a known answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import scumble
from scumble import artifacts
from scumble.bench import contact
from scumble.bench.contestants import Contestant, Ready, split
from scumble.bench.rows import read_rows
from scumble.bench.run import Bench
from scumble.bench.stages import Stage, Stages
from scumble.cli import bench as command
from scumble.cli import values
from scumble.core.errors import InputError
from scumble.core.pixels import to_images
from scumble.editing.passport import plain
from scumble.measuring.tasks import Case, scene_tasks
from scumble.train import tune

WORD = "beikkpic"  # UniTune's, from the paper


@dataclass(frozen=True, kw_only=True)
class TunedBench(Bench):
    """A bench that tunes the model on the picture of every edit, which its contestant then gets.

    taken: seconds of every training.
    """

    adaptation: Any
    taken: list[float] = field(default_factory=list[float])

    def _rows(self, ready: Ready, stage: Stage, repeat: int, some: Sequence[Case]) -> list[dict[str, Any]]:
        (case,) = some  # a tuned model knows one picture
        return super()._rows(replace(ready, given={"tuned": self.tuned(stage, case)}), stage, repeat, some)

    def tuned(self, stage: Stage, case: Case) -> object:
        """The model's change for a picture (for Imagic, and its target), from the disk where it is there."""
        bound = self.adaptation.word
        prompt, word = (WORD, WORD) if bound else (case.task.target, "")
        asked = tune.Asked(recipe=self.adaptation, prompt=prompt, word=word, seed=case.task.index)
        told = json.dumps([stage.card.hash, self.adaptation.name, asdict(asked)], sort_keys=True)
        path = self.out / "tuned" / f"{case.task.id}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.tuned"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            tune.tune(stage.prior, [to_images([case.known.source])], asked, path)
            self.taken.append(time.monotonic() - began)
        return artifacts.load(path)


def contestant(text: str, adaptation: Any, changed: Sequence[str]) -> Contestant:
    """A row; where the training's values are not its own, they are part of the label."""
    row = command.contestant(text)
    if row.name != adaptation.name:
        raise InputError(f"{text}: rows of one run are of one method, here {adaptation.name}")
    tuned = ",".join(f"tune.{c}" for c in changed)
    return replace(row, label=f"{row.label}{',' if row.settings else ':'}{tuned}") if changed else row


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="tuned_edits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--tune", nargs="*", default=[])
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--n", type=int, default=30)
    parser.add_argument("--model", default="scenes")
    asked = parser.parse_args(words)
    prior = scumble.load(asked.model, device="cpu")
    adaptation = tune.values(split(asked.row[0])[0], values.settings(asked.tune), prior.card)
    tasks = scene_tasks(asked.split, asked.n, prior.card.size)
    tasks = replace(tasks, all=[task for task in tasks.all if task.kind != "noop"])
    stage = Stages(prior, tasks, given={"tuned": None}).whole
    bench = TunedBench(out=asked.out, batch=1, back=False, adaptation=adaptation)
    named = {text.partition("=")[0] for text in asked.tune}
    origin = {
        f"tune {name}": {"value": plain(v), "from": "request" if name in named else "method"}
        for name, v in asdict(adaptation).items()
    }
    rows = [contestant(text, adaptation, asked.tune) for text in asked.row]
    for row in rows:
        ready = stage.ready(row)
        ready = replace(ready, given={}, parameters={**ready.parameters, **origin})
        report(
            row.label,
            bench.run(ready, stage, lambda label, n, of, _, left: say(f"{label}: {n}/{of}, {left:.0f} s")),
        )
    contact.draw(asked.out / f"{adaptation.name}.png", bench, rows, tasks)
    if bench.taken:
        say(f"{len(bench.taken)} trainings, {sum(bench.taken) / len(bench.taken):.0f} s each")


def report(label: str, path: Path) -> None:
    scores = [row["scores"] for row in read_rows(path)]
    means = {
        name: mean(float(each[name]) for each in scores if each[name] is not None)
        for name in ("success", "left", "preserved")
    }
    say(
        f"{label}: success {100 * means['success']:.0f} %, error left {means['left']:.3f}, "
        f"preserved {means['preserved']:.1f} dB, n = {len(scores)}"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
