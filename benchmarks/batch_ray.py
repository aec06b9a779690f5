"""What Ray adds to a batch on this machine: rows made in one process, and the same rows by one worker of Ray's.

    python benchmarks/batch_ray.py [--rows 200] [--steps 6] [--rounds 2]

Runs take turns, each in an empty folder; a worker has one thread, as the process without Ray has. Time counts from the
first group's last file to the last file, so starting is not in it and is told apart. Files count, not records: without
Ray, a group is recorded while the next one is made already. What Ray adds:

- gaps: the time over the time inside edits, against the same share without Ray. Other programs slow both, so this is
  the overhead.
- wall: the time as it is. Other programs disturb it; Ray's workers give way to them (niceness 15).
- processor of the worker: seconds a row, against those without Ray. Other programs hardly change it.
- beside the worker: what the driver and Ray's own processes use, as a share of one core, for all workers together.

`--beside` runs both at once instead: on a busy machine they are then slowed alike.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from batch import manifest

GROUP = 8  # rows
PICTURES = 12
POLL = 0.05  # s
ROLES = {"worker": "MapWorker", "raylet": "raylet/raylet", "control store": "gcs_server", "agents": "agent"}
"""Words in the command lines of Ray's processes; others are "rest", and ours is "driver"."""


@dataclass
class Run:
    """A run of `scumble batch`. Seconds from its start; memory in bytes: (resident, proportional) by role."""

    checked: float = 0.0  # the manifest is checked, for which the model is loaded once
    first: float = 0.0  # the first file
    ended: float = 0.0
    wall: float = 0.0  # from the first group's last file to the last file
    inside: float = 0.0  # of it: inside edits
    processor: dict[str, float] = field(default_factory=dict[str, float])  # of it: used, by role
    memory: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


def family(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def role(process: psutil.Process, driver: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return "driver" if process == driver else next((r for r, word in ROLES.items() if word in words), "rest")


def used(driver: psutil.Process) -> dict[str, float]:
    """Processor seconds so far of a process and all that it has started, by role."""
    found: dict[str, float] = {}
    for each in family(driver):
        with suppress(psutil.NoSuchProcess):
            times, its = each.cpu_times(), role(each, driver)
            found[its] = found.get(its, 0.0) + times.user + times.system
    return found


def memory(driver: psutil.Process) -> dict[str, tuple[int, int]]:
    """Of the processes of each role together."""
    found: dict[str, tuple[int, int]] = {}
    for each in family(driver):
        with suppress(psutil.NoSuchProcess, OSError):
            said, its = Path(f"/proc/{each.pid}/smaps_rollup").read_text(), role(each, driver)
            rss, pss = (
                1024 * int(re.findall(rf"^{name}:\s+(\d+)", said, re.M)[0]) for name in ("Rss", "Pss")
            )
            before = found.get(its, (0, 0))
            found[its] = rss + before[0], pss + before[1]
    return found


def measure(path: Path, out: Path, rows: int, steps: int, workers: int) -> Run:
    """Run a batch and look at its folder while it runs."""
    words = ["batch", path, "-o", out, "--set", f"steps={steps}", "--workers", workers, "--batch", GROUP]
    began, run, before, after = time.time(), Run(), dict[str, float](), dict[str, float]()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "scumble", *map(str, words), "--no-sheets"],
            stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(POLL)
            now, there = time.time() - began, len(list(out.glob("r*.png")))
            run.checked = run.checked or now * out.exists()
            run.first = run.first or now * bool(there)
            if there >= GROUP:
                before = before or used(watched)
            if there >= rows // 2:
                run.memory = run.memory or memory(watched)
            if there == rows:
                after = after or used(watched)
        said.seek(0)
        if process.returncode:
            raise SystemExit(said.read())
    run.ended = time.time() - began
    run.processor = {its: seconds - before.get(its, 0.0) for its, seconds in after.items()}
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    files = sorted((out / record["output"]).stat().st_mtime for record in records)
    run.wall = files[-1] - files[GROUP - 1]
    run.inside = sum(record["seconds"] for record in records[GROUP:])
    return run


def tell(name: str, run: Run, rows: int) -> None:
    each = rows - GROUP
    print(
        f"{name}: a row takes {run.wall / each:.3f} s, {run.inside / each:.3f} of them inside its edit; checked after "
        f"{run.checked:.1f} s, first file after {run.first:.1f} s, ended after {run.ended:.1f} s"
    )
    for its, (rss, pss) in sorted(run.memory.items()):
        print(
            f"    {its}: {rss / 1e6:.0f} MB resident, {pss / 1e6:.0f} MB proportional; processor: "
            f"{run.processor.get(its, 0.0) / each:.3f} s a row"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", action="store_true", help="run both at once")
    asked = parser.parse_args()
    added: dict[str, list[float]] = {"gaps": [], "wall": [], "processor of the worker": []}
    beside, start = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2 if asked.beside else 1) as pool:
        path = manifest(Path(name), asked.rows, PICTURES)
        for k in range(asked.rounds):
            runs = [
                pool.submit(measure, path, Path(name) / f"out-{k}-{n}", asked.rows, asked.steps, n)
                for n in (0, 1)
            ]
            alone, ray = (run.result() for run in runs)
            tell("in process", alone, asked.rows)
            tell("--workers 1", ray, asked.rows)
            added["wall"].append(ray.wall / alone.wall)
            added["gaps"].append(ray.wall / ray.inside / (alone.wall / alone.inside))
            added["processor of the worker"].append(ray.processor["worker"] / alone.processor["driver"])
            rest = sum(seconds for its, seconds in ray.processor.items() if its != "worker")
            beside.append(rest / ray.wall)
            start.append(ray.first - ray.checked - (alone.first - alone.checked))
    for what, ratios in added.items():
        shown = ", ".join(f"{100 * (ratio - 1):+.1f} %" for ratio in ratios)
        print(f"Ray adds, {what}: {100 * (statistics.median(ratios) - 1):+.1f} % ({shown})")
    print(f"beside the worker: {100 * statistics.median(beside):.1f} % of a core")
    print(
        f"Ray's first file comes {statistics.median(start):.1f} s later: its start, and the model loaded again"
    )


if __name__ == "__main__":
    main()
