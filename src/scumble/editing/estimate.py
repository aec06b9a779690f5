"""Estimates the time and memory of an edit from its first steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scumble.core.request import Step
    from scumble.editing.plan import Plan

TRIED = 2  # steps


def estimate(plan: Plan, edits: int = 1) -> dict[str, Any]:
    """Run the first steps of an edit and extrapolate. The first step includes the time of everything before it."""
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
        clock, evaluations = [clock[0], time.perf_counter()], [0, done.evaluations]  # it reported no step
    except Cancelled:
        pass
    left, device = steps - len(clock) + 1, str(plan.loaded.get("device") or "cpu")
    return {
        "model": plan.prior.card.id,
        "hash": plan.prior.card.hash,
        "canvas": list(plan.placed.fit.canvas),
        "device": device,
        "edits": edits,
        "steps": steps,
        "tried": len(clock) - 1,
        "evaluations": edits * (evaluations[-1] + left * (evaluations[-1] - evaluations[-2])),
        "seconds": edits * (clock[-1] - clock[0] + left * (clock[-1] - clock[-2])),
        "memory": machine.peak(device),
        "download": 0,
    }
