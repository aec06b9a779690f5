"""Estimates the time and memory of an edit from its first steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scumble.core.request import OnStep, Step
    from scumble.editing.plan import Plan

TRIED = 2  # steps


@dataclass(frozen=True)
class Trial:
    """What a call of a method would take: seconds and evaluations of all `steps`, of which `tried` were made."""

    steps: int
    tried: int
    seconds: float
    evaluations: int


def try_out(make: Callable[[OnStep], int]) -> Trial:
    """Run the first steps of `make` and extrapolate. The first step includes the time of everything before it.

    make: returns the evaluations, which count where it reports no step. Raises what it raises.
    """
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
        made = make(on_step)
        clock, evaluations = [clock[0], time.perf_counter()], [0, made]
    except Cancelled:
        pass
    left = steps - len(clock) + 1
    return Trial(
        steps=steps,
        tried=len(clock) - 1,
        seconds=clock[-1] - clock[0] + left * (clock[-1] - clock[-2]),
        evaluations=evaluations[-1] + left * (evaluations[-1] - evaluations[-2]),
    )


def larger(plan: Plan) -> Trial | None:
    """What drawing the result of an edit larger would take, from the first calls of the stage; None: nothing."""
    import torch

    from scumble.core.request import Step

    stage, picture, n = plan.upscaled, plan.placed.picture, plan.calls
    if stage is None:
        return None

    def make(on_step: OnStep) -> int:
        nothing = torch.zeros(1, 3, 1, 1)
        stage.picture(picture, lambda k, _: on_step(Step(k, n, 0.0, nothing, lambda: nothing, k)))
        return n

    return try_out(make)


def small(plan: Plan) -> Plan:
    """The same edit, at the picture's own size."""
    return replace(plan, recipe=replace(plan.recipe, upscale=1))


def estimate(plan: Plan, edits: int = 1) -> dict[str, Any]:
    """What `edits` edits like this one would take, from its first steps.

    `upscale`, where the result is drawn larger: its size, and the calls of the stage's network and their seconds, which
    `seconds` contains.
    """
    from scumble.core import machine

    trial, device = (
        try_out(lambda on_step: small(plan)(on_step).evaluations),
        str(plan.loaded.get("device") or "cpu"),
    )
    stage, factor = larger(plan), plan.recipe.upscale
    width, height = plan.placed.picture.size
    drawn = stage and {
        "factor": factor,
        "size": [factor * width, factor * height],
        "calls": edits * stage.evaluations,
        "seconds": edits * stage.seconds,
    }
    return {
        "model": plan.prior.card.id,
        "hash": plan.prior.card.hash,
        "canvas": list(plan.placed.fit.canvas),
        "device": device,
        "edits": edits,
        "steps": trial.steps,
        "tried": trial.tried,
        "evaluations": edits * trial.evaluations,
        "seconds": edits * (trial.seconds + (stage.seconds if stage else 0)),
        **({"upscale": drawn} if drawn else {}),
        "memory": machine.peak(device),
        "download": 0,
    }
