"""What it costs to start: the command line against a bare interpreter that imports typer and rich.

Processor seconds of whole processes, so that other programs do not count. One round runs every command once, in a
new order; the table has the medians over rounds. What start-up must not import is a test,
tests/surfaces/test_startup.py.

    python benchmarks/startup.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

from speed import interleaved

BARE = "python with typer and rich"
COMMANDS = {
    BARE: ["-c", "import rich, typer"],
    "import scumble": ["-c", "import scumble"],
    "scumble --version": ["-m", "scumble", "--version"],
    "scumble --help": ["-m", "scumble", "--help"],
    "scumble edit --help": ["-m", "scumble", "edit", "--help"],
}


def children() -> float:
    """The processor seconds of all processes that this one has waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()

    runs = {
        name: lambda command=command: subprocess.run(
            [sys.executable, *command], check=True, capture_output=True
        )
        for name, command in COMMANDS.items()
    }
    median = {
        name: statistics.median(spent) for name, spent in interleaved(runs, args.rounds, children).items()
    }
    print(f"Python {sys.version.split()[0]}, medians of {args.rounds} interleaved rounds\n")
    print("| command | processor seconds | times the bare interpreter |\n|---|--:|--:|")
    for name, spent in median.items():
        print(f"| {name} | {spent:.3f} | {spent / median[BARE]:.2f} x |")


if __name__ == "__main__":
    main()
