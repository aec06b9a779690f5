"""What a batch would take, from the first steps of a group of every kind of edit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from scumble.batch.groups import groups, kind_of
from scumble.batch.making import Maker

if TYPE_CHECKING:
    from scumble.batch.rows import Row
    from scumble.batch.run import Batch
    from scumble.core.request import Step

TRIED = 2  # steps
MOST = 5  # kinds of edits


def estimate(batch: Batch, rows: Sequence[Row]) -> dict[str, Any]:
    """Seconds, evaluations and memory (bytes) of the rows, in this process. The first kinds stand for the others."""
    from scumble.core import machine

    kinds: dict[str, list[list[Row]]] = {}
    for group in groups(rows, batch.checked, batch.size):
        kinds.setdefault(kind_of(group[0].recipe, batch.checked), []).append(group)
    maker, seconds, evaluations, counted = Maker(batch.out, batch.manifest), 0.0, 0.0, 0
    for some in list(kinds.values())[:MOST]:
        edits = sum(map(len, some))
        time_each, evaluations_each = _try(maker, max(some, key=len))
        seconds, evaluations, counted = (
            seconds + edits * time_each,
            evaluations + edits * evaluations_each,
            counted + edits,
        )
    scale = len(rows) / counted if counted else 0
    return {
        "rows": len(rows),
        "kinds": len(kinds),
        "tried": min(len(kinds), MOST),
        "seconds": seconds * scale,
        "evaluations": round(evaluations * scale),
        "memory": machine.peak(),
    }


def _try(maker: Maker, group: Sequence[Row]) -> tuple[float, float]:
    """Seconds and evaluations of one row of a group, from its first steps."""
    from scumble.core.request import Cancelled

    clock, asked, steps = [time.perf_counter()], [0], 0

    def on_step(step: Step) -> None:
        nonlocal steps
        clock.append(time.perf_counter())
        asked.append(step.evaluations)
        steps = step.n
        if step.k >= min(TRIED, step.n):
            raise Cancelled

    with suppress(Cancelled):
        maker.try_out(group, on_step)
    if len(clock) < 2:
        return (time.perf_counter() - clock[0]) / len(group), 0
    left = steps - len(clock) + 1
    seconds = clock[-1] - clock[0] + left * (clock[-1] - clock[-2])
    return seconds / len(group), asked[-1] + left * (asked[-1] - asked[-2])
