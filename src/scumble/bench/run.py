"""Running methods over edits, scored as they are made, and taken up where an earlier run stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from scumble import files
from scumble.bench.contestants import Contestant, Ready
from scumble.bench.making import Placed, batches, make
from scumble.bench.rows import TESTS, Row, append, resume
from scumble.bench.stages import Stage
from scumble.core.errors import InputError
from scumble.core.pixels import Pixels, rms
from scumble.judge import Judged, judge
from scumble.machine import limits
from scumble.tasks import MOST

Tell = Callable[[str, int, int, float], None]
"""Told after every batch: (label, edits done, edits in all, seconds left)."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How the bench runs: `seeds` seeds per edit, `batch` pictures per call, into the folder `out`.

    back: also edit the results of the first seed back, and see what comes back.
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
        """A contestant's rows."""
        return self.out / f"{contestant.stem}.jsonl"

    def picture(self, contestant: Contestant, task: str, repeat: int = 0) -> Path:
        """A contestant's picture of an edit."""
        return self.out / contestant.stem / f"{task}-{repeat}.png"

    def run(self, ready: Ready, stage: Stage, tell: Tell | None = None) -> Path:
        """Makes and scores every edit that is not in the contestant's file yet; returns the file.

        Raises:
            InputError: a file of other settings in the way, or what `make` refuses.
            MachineError: the memory does not suffice.
        """
        contestant, tasks = ready.contestant, stage.tasks.all
        world = {**stage.settings, "back": self.back}
        settings = {"method": contestant.label, "parameters": ready.parameters, "bench": world}
        path = self.file(contestant)
        done = {(row["id"], row["repeat"]) for row in resume(path, settings)}
        repeats = range(min(self.seeds, contestant.seeds or self.seeds))
        todo = [(repeat, task) for repeat in repeats for task in tasks if (task.id, repeat) not in done]
        if not todo:
            return path
        self.picture(contestant, "any").parent.mkdir(parents=True, exist_ok=True)
        self._log(stage, settings, len(todo))
        made, started = 0, time.perf_counter()
        for repeat, some in batches(iter(todo), stage.prior, self.batch):
            append(path, [{**row, **settings} for row in self._rows(ready, stage, repeat, some)])
            made += len(some)
            if tell:
                left = (time.perf_counter() - started) / made * (len(todo) - made)
                total = len(tasks) * len(repeats)
                tell(contestant.label, total - len(todo) + made, total, left)
        return path

    def _rows(self, ready: Ready, stage: Stage, repeat: int, some: Sequence[Placed]) -> Iterator[Row]:
        contestant = ready.contestant
        seed = repeat * MOST + some[0].task.index
        back = self.back and repeat == 0 and not contestant.frames
        with limits(str(stage.loaded.get("device", "cpu"))):
            made = make(ready, stage.prior, some, seed=seed, back=back)
        for i, (placed, result) in enumerate(zip(some, made.results, strict=True)):
            task, path = placed.task, self.picture(contestant, placed.task.id, repeat)
            known = placed.known.first if "mask" in contestant.extras else placed.known
            files.save(Image.fromarray(result), path)
            apart = None if repeat == 0 else self._apart(contestant, task.id, result)
            yield {
                "id": task.id,
                "kind": task.kind,
                "source": task.source,
                "target": task.target,
                "seed": seed + i,
                "repeat": repeat,
                "scores": scores(judge(known, result, made.codecs[i]), made.back[i], apart),
                "evaluations": made.evaluations,
                "seconds": round(made.seconds, 4),
                "codec_seconds": round(made.codec_seconds, 4),
                "output": path.relative_to(self.out).as_posix(),
            }

    def _apart(self, contestant: Contestant, task: str, result: Pixels) -> float | None:
        first = self.picture(contestant, task)
        return rms(result, np.asarray(files.read(first).rgb)) if first.exists() else None

    def _log(self, stage: Stage, settings: dict[str, object], edits: int) -> None:
        if stage.tasks.world["split"] == "test":
            now = datetime.now(UTC).isoformat(timespec="seconds")
            append(self.out / TESTS, [{"time": now, "edits": edits, **settings}])


def scores(judged: Judged, back: float | None, apart: float | None) -> dict[str, object]:
    """What a row says: the scores of `Judged`, and

    back: PSNR to the source of the result edited back, dB. apart: RMS difference to the first seed's result, 8-bit
    steps.
    """
    verdicts = {"done": judged.done, "success": judged.success, "joint": judged.joint}
    found = {**asdict(judged), **verdicts, "back": back, "apart": apart}
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}
