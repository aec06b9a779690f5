"""`scumble edit --dry-run`: what an edit would take, from its first two steps."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from scumble.cli.voice import Voice
    from scumble.core.request import Step
    from scumble.editing.plan import Plan

TRIED = 2  # steps


def download(model: str, revision: str | None, offline: bool, voice: Voice, as_json: bool) -> bool:
    """Whether the model would have to be downloaded first; if so, say how much."""
    from scumble.priors.load import outstanding

    left = outstanding(model, revision=revision, offline=offline)
    if left is None:
        return False
    if as_json:
        typer.echo(
            json.dumps({"model": model, "licence": left.licence, "download": sum(left.missing.values())})
        )
    else:
        voice.say(f"dry run: {left} would be downloaded first; then --dry-run tells time and memory, too")
    return True


def estimate(plan: Plan, edits: int, voice: Voice, as_json: bool) -> None:
    """Say what `edits` such edits would take; nothing is written."""
    told = measure(plan, edits)
    if as_json:
        typer.echo(json.dumps(told))
        return
    width, height = told["canvas"]
    voice.say(
        f"dry run: {plan.name} on model {told['model']} ({told['hash'][:12]}), canvas {width}x{height}; "
        f"{'one edit' if edits == 1 else f'{edits} edits'}, {told['evaluations']} evaluations of the network"
    )
    voice.say(
        f"about {told['seconds']:.0f} s and {told['memory'] / 1e9:.1f} GB of memory on {told['device']}: an estimate "
        f"from {told['tried']} of {told['steps']} steps; nothing is left to download"
    )


def measure(plan: Plan, edits: int = 1) -> dict[str, Any]:
    """Try the first steps of an edit and draw the line on: the first step bears what comes before it, too."""
    from scumble.core import machine
    from scumble.core.request import Cancelled

    clock, evaluations, steps = [time.perf_counter()], [0], 0

    def on_step(step: Step) -> None:
        nonlocal steps
        clock.append(time.perf_counter())
        evaluations.append(step.evaluations)
        steps = step.n
        if step.k >= min(TRIED, step.n):
            raise Cancelled

    try:
        done = plan(on_step)
        clock, evaluations = [clock[0], time.perf_counter()], [0, done.evaluations]  # it told of no step
    except Cancelled:
        pass
    left, device = steps - len(clock) + 1, str(plan.loaded.get("device") or "cpu")
    return {
        "model": plan.prior.card.id,
        "hash": plan.prior.card.hash,
        "canvas": list(plan.fit.canvas),
        "device": device,
        "edits": edits,
        "steps": steps,
        "tried": len(clock) - 1,
        "evaluations": edits * (evaluations[-1] + left * (evaluations[-1] - evaluations[-2])),
        "seconds": edits * (clock[-1] - clock[0] + left * (clock[-1] - clock[-2])),
        "memory": machine.peak(device),
        "download": 0,
    }
