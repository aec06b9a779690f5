"""Makes figures: measured once, drawn from the measurements, and described in a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import scumble
from scumble.core.errors import InputError
from scumble.core.machine import limits
from scumble.core.prior import Prior
from scumble.editing.passport import plain, versions
from scumble.pictures import sheets, writing
from scumble.reproduce import drawing, tables
from scumble.reproduce.experiment import Experiment, Verdict
from scumble.reproduce.figures import FIGURES
from scumble.reproduce.material import Material

VERSIONS = ("python", "torch")  # that a figure is not mixed across
REPORT = "report.md"
EVERY = 10.0  # seconds between two reports of progress

Progress = Callable[[str, int, int, float], None]
"""Told now and then: (figure, rows that the network was asked, of how many, seconds left)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """Figures of one material in a folder. A finished figure with the same settings is not made again.

    world: what identifies these pictures (`Tasks.world`). overwrite: replace a figure with other settings instead of
    refusing.
    """

    out: Path
    material: Material
    world: Mapping[str, object]
    overwrite: bool = False
    progress: Progress | None = field(default=None, repr=False)

    def file(self, name: str, suffix: str) -> Path:
        """A figure's file: .png is drawn from .csv (the numbers) and .npz (the pictures). A .json with the settings
        marks them as complete.
        """
        return self.out / f"{name}{suffix}"

    def settings(self, experiment: Experiment) -> dict[str, Any]:
        """Everything that decides the result."""
        prior, material = self.material.prior, self.material
        loaded: Mapping[str, Any] = prior.loaded
        found = {name: version for name, version in versions().items() if name in VERSIONS}
        about = {
            **{name: plain(value) for name, value in asdict(experiment).items()},
            **self.world,
            "guidance": material.guidance,
            "seed": material.seed,
            "model": prior.card.id,
            "hash": prior.card.hash[:16],
            "device": str(loaded.get("device", "cpu")),
            "dtype": str(loaded.get("dtype", "float32")),
            "scumble": scumble.__version__,
            **found,
        }
        return json.loads(json.dumps(about))

    def finished(self, experiment: Experiment) -> bool:
        """Whether it was measured with these settings. Raises InputError if it was measured with others."""
        path = self.file(experiment.name, ".json")
        if not path.exists():
            return False
        old, new = read(path)["settings"], self.settings(experiment)
        if old == new:
            return True
        if self.overwrite:
            return False
        key = next(k for k in {**old, **new} if old.get(k) != new.get(k))
        raise InputError(
            f"{path}: it was made with {key} = {old.get(key)!r}, which is now {new.get(key)!r}; name another folder "
            "with -o, or --overwrite"
        )

    def make(self, experiment: Experiment) -> Verdict:
        """Measures, judges and draws a figure, as far as this is not done yet."""
        name = experiment.name
        if not self.finished(experiment):
            self._measure(experiment)
            self.file(name, ".png").unlink(missing_ok=True)
        measured = tables.read(self.file(name, ".csv"), self.file(name, ".npz"))
        verdict = experiment.judge(measured.rows)
        if not self.file(name, ".png").exists():
            about = {"figure": name, **self.settings(experiment), "versions": versions()}
            passport = {**about, "verdict": verdict.sentence}
            writing.save(drawing.render(experiment, measured), self.file(name, ".png"), passport)
        return verdict

    def _measure(self, experiment: Experiment) -> None:
        name, material = experiment.name, self.material.first(experiment.pictures)
        total = experiment.evaluations(material.guidance)
        started = reported = time.perf_counter()

        def tell(rows: int) -> None:
            nonlocal reported
            now = time.perf_counter()
            if self.progress and now - reported >= EVERY:
                reported = now
                self.progress(name, rows, total, (now - started) / rows * (total - rows))

        watched, prior = material.watched(tell)
        with limits(self.settings(experiment)["device"]), torch.no_grad():
            measured = experiment.measure(watched)
        about = {
            "settings": self.settings(experiment),
            "versions": versions(),
            "evaluations": prior.rows,
            "seconds": round(time.perf_counter() - started, 1),
        }
        self.file(name, ".json").unlink(missing_ok=True)  # from here on it is not finished
        tables.write(measured, self.file(name, ".csv"), self.file(name, ".npz"))
        tables.write_text(self.file(name, ".json"), json.dumps(about, indent=1) + "\n")

    def report(self) -> Path:
        """Writes report.md: every figure in the folder, with claim, criterion, verdict and settings."""
        path = self.out / REPORT
        tables.write_text(path, "\n\n".join(["# The experiments of the DDS paper", *self._parts()]) + "\n")
        return path

    def sheet(self, experiments: Sequence[Experiment], verdicts: Sequence[Verdict]) -> Path:
        """Writes sheet.png: all figures side by side; those whose claim does not hold are framed."""
        cells = [
            sheets.Cell(
                Image.open(self.file(one.name, ".png")).convert("RGB"),
                [one.title, "holds" if verdict.holds else "does not hold"],
                not verdict.holds,
            )
            for one, verdict in zip(experiments, verdicts, strict=True)
        ]
        path = self.out / "sheet.png"
        title = f"The experiments of the DDS paper on {self.material.prior.card.id}"
        writing.save(sheets.sheet(cells, title=title, note="Framed: the claim does not hold."), path)
        return path

    def _parts(self) -> list[str]:
        parts: list[str] = []
        for name, kind in FIGURES.items():
            if not self.file(name, ".json").exists() or not self.file(name, ".png").exists():
                continue
            about = read(self.file(name, ".json"))
            measured = tables.read(self.file(name, ".csv"), self.file(name, ".npz"))
            settings = ", ".join(
                f"{key} {value}" for key, value in about["settings"].items() if value is not None
            )
            parts += [
                f"## {kind.title}",
                f"Claim: {kind.claim}",
                f"**{kind().judge(measured.rows).sentence}**",
                f"![{kind.title}]({name}.png)",
                f"It counts as holding if {kind.criterion}. Numbers: [{name}.csv]({name}.csv).",
                f"{about['evaluations']:,} evaluations of the network in {about['seconds']:.0f} s; {settings}.",
            ]
        return parts


def read(path: Path) -> dict[str, Any]:
    """The content of a figure's .json. Raises InputError if it is not one."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return {
            "settings": dict(about["settings"]),
            "evaluations": about["evaluations"],
            "seconds": about["seconds"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: it was not written by this command, or is damaged; delete it") from error


@torch.no_grad()
def seconds_per_row(prior: Prior, material: Material) -> float:
    """How long the network takes for one row of a batch: the faster of two calls."""
    few = material.first(min(material.batch, 4))
    x, text, took = few.z, few.text(few.source), []
    for _ in range(2):
        started = time.perf_counter()
        answer = prior.predict(x, prior.schedule.time(500, len(x)), text)
        float(answer.eps.sum())  # an accelerator answers when it is done
        took.append((time.perf_counter() - started) / len(x))
    return min(took)


def estimate(experiments: Sequence[Experiment], material: Material) -> tuple[int, float]:
    """(evaluations, estimated seconds)."""
    rows = sum(experiment.evaluations(material.guidance) for experiment in experiments)
    return rows, rows * seconds_per_row(material.prior, material)
