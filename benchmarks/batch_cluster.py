"""A batch on a cluster that we do not have: the scheduling simulated, with times measured on one machine.

    python benchmarks/batch_cluster.py [--rows 10000000] [--gpus 64] [--edit 4.0]

Groups are given to whichever worker is free next, and one driver records them one after the other. Workers start with
loading the model. `driver` measures the driver's part on this machine: reading a group's records and adding them to the
ledger, with its fsync.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import tempfile
import time
from pathlib import Path

GROUP = 8  # rows
SHARD = 100_000  # rows of a manifest: what one run checks in a minute
CHECK = 0.00027  # s of processor a row, measured by `batch.py check` (26.9 s for 100,000 rows)
LOAD = 60.0  # s until a worker has its model
SPREAD = 0.15  # standard deviation of a group's time, as a share


def driver(groups: int = 200) -> float:
    """Seconds that the driver spends on a group."""
    from scumble.batch.ledger import Ledger, Record

    with tempfile.TemporaryDirectory() as name:
        ledger = Ledger(Path(name))
        text = json.dumps([_record(i) for i in range(GROUP)])
        started = time.perf_counter()
        for _ in range(groups):
            ledger.add([Record(**record) for record in json.loads(text)])
        return (time.perf_counter() - started) / groups


def _record(i: int) -> dict[str, object]:
    return {
        "row": i, "id": f"row-{i}", "identity": f"{i:032x}", "output": f"row-{i}.png", "sha256": "0" * 64,
        "evaluations": 72, "seconds": 1.0, "changed": 0.1, "error": None, "warning": None, "manifest": "m.csv",
    }  # fmt: skip


def run(rows: int, workers: int, edit: float, each: float, chosen: random.Random) -> float:
    """Seconds of one run: check, loading, groups, the last worker's end."""
    begun = rows * CHECK
    free = [begun + LOAD * chosen.uniform(0.8, 1.2) for _ in range(workers)]
    heapq.heapify(free)
    made: list[float] = []
    for _ in range(0, rows, GROUP):
        made.append(heapq.heappop(free) + GROUP * edit * max(0.3, chosen.gauss(1, SPREAD)))
        heapq.heappush(free, made[-1])
    recorded = begun
    for ready in sorted(made):
        recorded = max(recorded, ready) + each
    return recorded


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--edit", type=float, default=4.0, help="GPU seconds of an edit: measure yours")
    asked = parser.parse_args()
    each, chosen = driver(), random.Random(0)
    print(
        f"the driver spends {1e3 * each:.1f} ms on a group of {GROUP}: at most {GROUP / each:.0f} rows a second"
    )
    for edit in (asked.edit, asked.edit / 4, asked.edit / 16):
        runs = -(-asked.rows // SHARD)
        one = run(SHARD, asked.gpus, edit, each, chosen)
        busy = SHARD * edit / asked.gpus
        print(
            f"{edit:g} s an edit: {runs} manifests, {one:.0f} s each, {runs * one / 86400:.1f} days in all, "
            f"{runs * one * asked.gpus / 3600:.0f} GPU hours; GPUs work {100 * busy / one:.1f} % of the time"
        )


if __name__ == "__main__":
    main()
