"""What a batch would take, from the first steps of a group of every kind of edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scumble.batch.groups import groups, kind_of
from scumble.batch.making import Maker
from scumble.editing.estimate import try_out

if TYPE_CHECKING:
    from scumble.batch.rows import Row
    from scumble.batch.run import Batch

MOST = 5  # kinds of edits


def estimate(batch: Batch, rows: Sequence[Row]) -> dict[str, Any]:
    """Seconds, evaluations and memory (bytes) of the rows, in this process. The first kinds stand for the others.

    `upscale`, where results are drawn larger: the calls of the stage's network and their seconds, which `seconds`
    contains.
    """
    from scumble.core import machine

    kinds: dict[str, list[list[Row]]] = {}
    for group in groups(rows, batch.checked, batch.size):
        kinds.setdefault(kind_of(group[0].recipe, batch.checked), []).append(group)
    maker, seconds, evaluations, counted = Maker(batch.out, batch.manifest), 0.0, 0.0, 0
    calls, drawing = 0.0, 0.0
    for some in list(kinds.values())[:MOST]:
        edits = sum(map(len, some))
        longest = max(some, key=len)
        trial = try_out(lambda on_step, group=longest: maker.try_out(group, on_step))
        seconds += edits * trial.seconds / len(longest)
        evaluations += edits * trial.evaluations
        counted += edits
        if stage := maker.larger(longest):
            calls += edits * stage.evaluations
            drawing += edits * stage.seconds
    scale = len(rows) / counted if counted else 0
    return {
        "rows": len(rows),
        "kinds": len(kinds),
        "tried": min(len(kinds), MOST),
        "seconds": (seconds + drawing) * scale,
        "evaluations": round(evaluations * scale),
        **({"upscale": {"calls": round(calls * scale), "seconds": drawing * scale}} if calls else {}),
        "memory": machine.peak(),
    }
