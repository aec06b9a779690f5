"""What control costs: the time of an edit whose attention is recorded, and the memory of every method that looks into
the network or differentiates through it, on the built-in model.

Times are medians of interleaved runs in one process. Memory is the most that a process of its own ever held, from
its start to its edit, at 50 steps.

    python benchmarks/attention_cost.py [--runs 7] [--steps 10]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from itertools import islice

import scumble
from scumble.core.pixels import to_images
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.editing.plan import choose
from scumble.methods import get
from scumble.scenes import edits, render

RECORDED = ("p2p", "masactrl", "plug_and_play")
MEASURED = ("p2p", "masactrl", "plug_and_play", "ledits_pp", "diffedit", "pix2pix_zero", "null_text")
STEPS = 50  # at which memory is measured


def editor(prior: Prior, name: str, steps: int) -> Callable[..., scumble.Edit]:
    """An edit of a held-out scene, with the card's values: called with what the request is to keep."""
    edit = next(islice(edits("test"), 0, 1))
    kind = get(name)
    asked: dict[str, object] = {"steps": steps} if "steps" in {f.name for f in fields(kind)} else {}
    method, _ = choose(name, kind, prior.card, asked)
    image = to_images([render(edit.source, prior.card.size)])
    parts = {"image": image, "source": edit.source_caption, "target": edit.target_caption}
    return lambda *keep: method(prior, EditRequest(**parts, keep=keep))


def times(runs: int, steps: int) -> str:
    """Seconds of an edit, plain and recorded."""
    prior = scumble.load("scenes", device="cpu")
    lines = ["| method | plain, s | recorded, s | ratio |", "|---|--:|--:|--:|"]
    for name in RECORDED:
        made, found = editor(prior, name, steps), {"plain": list[float](), "recorded": list[float]()}
        made()
        for _ in range(runs):
            for which, keep in (("plain", ()), ("recorded", ("attention",))):
                started = time.process_time()
                made(*keep)
                found[which].append(time.process_time() - started)
        plain, recorded = (statistics.median(found[which]) for which in found)
        lines.append(f"| `{name}` | {plain:.2f} | {recorded:.2f} | {recorded / plain:.2f} |")
    return "\n".join(lines)


def memory() -> str:
    """The peak of a process per method."""
    lines = ["| method | evaluations | peak, GiB |", "|---|--:|--:|"]
    for name in MEASURED:
        command = [sys.executable, __file__, "--one", name]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        lines.append(f"| `{name}` | {printed[0]} | {float(printed[1]):.2f} |")
    return "\n".join(lines)


def one(name: str) -> None:
    """Edits once, and says what that took: evaluations, and GiB."""
    made = editor(scumble.load("scenes", device="cpu"), name, STEPS)()
    unit = 1024 if sys.platform != "darwin" else 1  # ru_maxrss is in KiB, on macOS in bytes
    print(made.evaluations, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", choices=MEASURED, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one)
        return
    print(memory(), times(asked.runs, asked.steps), sep="\n\n")


if __name__ == "__main__":
    main()
