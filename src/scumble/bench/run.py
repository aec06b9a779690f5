"""Runs methods over edits, scores them, and continues where an earlier run stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from scumble.artifacts import digest
from scumble.bench.contestants import Contestant, Ready
from scumble.bench.making import Completed, Refused, attempt, batches
from scumble.bench.rows import TESTS, TableRow, append, resume
from scumble.bench.scoring import scores, unmade
from scumble.bench.stages import Stage
from scumble.core.errors import InputError
from scumble.core.machine import limits
from scumble.core.pixels import Pixels, rms
from scumble.measuring.judge import judge
from scumble.measuring.tasks import MOST, Case
from scumble.pictures import reading, writing

Tell = Callable[[str, int, int, int, float], None]
"""Told after every batch: (label, edits done, edits in all, how many of them were refused, seconds left)."""

PATIENCE = 10  # edits that may be refused before the first is made; the kinds of edits go round in ten


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How the bench runs: `seeds` seeds per edit, `batch` pictures per call, into the folder `out`.

    back: also edit the results of the first seed back, and compare them with the source.
    """

    out: Path
    seeds: int = 1
    batch: int = 16
    back: bool = True

    def __post_init__(self) -> None:
        for name in ("seeds", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} must be at least 1")

    def file(self, contestant: Contestant) -> Path:
        """The file of a contestant's rows."""
        return self.out / f"{contestant.stem}.jsonl"

    def picture(self, contestant: Contestant, task: str, repeat: int = 0) -> Path:
        """The file of a contestant's picture of an edit."""
        return self.out / contestant.stem / f"{task}-{repeat}.png"

    def run(self, ready: Ready, stage: Stage, tell: Tell | None = None) -> Path:
        """Makes and scores every edit that is not in the contestant's file yet; returns the file.

        Raises:
            InputError: there is a file with other settings, or the method refuses every edit.
            MachineError: there is not enough memory.
        """
        contestant, tasks = ready.contestant, stage.tasks.all
        known = {name: digest(value) for name, value in ready.given.items()}
        world = {**stage.settings, "back": self.back, **({"given": known} if known else {})}
        settings = {"method": contestant.label, "parameters": ready.parameters, "bench": world}
        path = self.file(contestant)
        kept = resume(path, settings)
        done = {(row["id"], row["repeat"]) for row in kept}
        repeats = range(min(self.seeds, contestant.seeds or self.seeds))
        todo = [(repeat, task) for repeat in repeats for task in tasks if (task.id, repeat) not in done]
        if not todo:
            return path
        self.picture(contestant, "any").parent.mkdir(parents=True, exist_ok=True)
        self._log(stage, settings, len(todo))
        made, started = 0, time.perf_counter()
        tried = (self._rows(ready, stage, *some) for some in batches(iter(todo), stage.prior, self.batch))
        proven = any(row["kind"] != "noop" and not row["refused"] for row in kept)
        for rows in trusted(tried, proven, contestant.label):
            append(path, [{**row, **settings} for row in rows])
            made += len(rows)
            kept += rows
            if tell:
                refused = sum(row["refused"] is not None for row in kept)
                left = (time.perf_counter() - started) / made * (len(todo) - made)
                total = len(tasks) * len(repeats)
                tell(contestant.label, total - len(todo) + made, total, refused, left)
        return path

    def _rows(self, ready: Ready, stage: Stage, repeat: int, some: Sequence[Case]) -> list[TableRow]:
        seed = repeat * MOST + some[0].task.index
        back = self.back and repeat == 0 and not ready.contestant.frames
        with limits(str(stage.loaded.get("device", "cpu"))):
            outcomes = attempt(ready, stage.prior, some, seed=seed, back=back)
        return [
            {
                "id": case.task.id,
                "kind": case.task.kind,
                "source": case.task.source,
                "target": case.task.target,
                "seed": seed + i,
                "repeat": repeat,
                **self._came(ready.contestant, case, repeat, outcome),
            }
            for i, (case, outcome) in enumerate(zip(some, outcomes, strict=True))
        ]

    def _came(
        self, contestant: Contestant, case: Case, repeat: int, outcome: Completed | Refused
    ) -> TableRow:
        """The row of an edit; its picture is saved."""
        task = case.task
        known = case.known.first if "mask" in contestant.extras else case.known
        if isinstance(outcome, Refused):
            blank = dict.fromkeys(("refused_back", "evaluations", "seconds", "codec_seconds", "output"))
            return {"scores": unmade(known, task.kind), "refused": outcome.why, **blank}
        path = self.picture(contestant, task.id, repeat)
        writing.save(Image.fromarray(outcome.result), path)
        apart = None if repeat == 0 else self._apart(contestant, task.id, outcome.result)
        return {
            "scores": scores(judge(known, outcome.result, outcome.codec), outcome.back, apart),
            "refused": None,
            "refused_back": outcome.refused_back,
            "evaluations": outcome.evaluations,
            "seconds": round(outcome.seconds, 4),
            "codec_seconds": round(outcome.codec_seconds, 4),
            "output": path.relative_to(self.out).as_posix(),
        }

    def _apart(self, contestant: Contestant, task: str, result: Pixels) -> float | None:
        first = self.picture(contestant, task)
        return rms(result, np.asarray(reading.read(first).rgb)) if first.exists() else None

    def _log(self, stage: Stage, settings: dict[str, object], edits: int) -> None:
        if stage.tasks.world["split"] == "test":
            now = datetime.now(UTC).isoformat(timespec="seconds")
            append(self.out / TESTS, [{"time": now, "edits": edits, **settings}])


def trusted(batches: Iterable[list[TableRow]], proven: bool, label: str) -> Iterator[list[TableRow]]:
    """The rows of all batches, held back until the method has made at least one edit that asks for a change.

    Raises:
        InputError: it made none of the first `PATIENCE`, or none at all. Then its settings are wrong, not the edits.
    """
    held: list[TableRow] = []
    for rows in batches:
        held += rows
        changes = [row for row in held if row["kind"] != "noop"]
        if proven := proven or not all(row["refused"] for row in changes):
            yield held
            held = []
        elif len(changes) >= PATIENCE:
            break
    if whys := [row["refused"] for row in held if row["kind"] != "noop"]:
        raise InputError(f"--method {label}: it refuses every edit; the first: {whys[0]}")
    if held:
        yield held
