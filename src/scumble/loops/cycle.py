"""Up to a level and down again on one's own steps, as DiffusionCLIP and Asyrp do (arXiv:2110.02711, 2210.10960).

The levels are evenly spaced from 0 to `start` and rounded down. On the way up the picture is taken to stand at the
lowest of them already, and the network is told the level that the state stands at; the way down ends clean.
"""

from collections.abc import Sequence

from scumble.core.errors import InputError
from scumble.core.grids import pairs, spaced, upward
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair
from scumble.loops.invert import invert


def levels(schedule: Schedule, start: int, steps: int, nudge: float = 0.0) -> list[int]:
    """`steps` levels from 0 up to `start`; `nudge` is added before they are rounded down (Asyrp's code: 1e-6).

    On a flow, whose level 0 is clean, the lowest is 1.

    Raises InputError where the schedule has no such level, or fewer levels than steps up to it.
    """
    lowest, highest = (1, schedule.T) if schedule.abar is None else (0, schedule.T - 1)
    if not 1 <= start <= highest:
        raise InputError(f"start: {start}; this model's levels go from 1 to {highest}")
    if steps > start + 1 - lowest:
        raise InputError(
            f"steps: {steps}, but there are only {start + 1 - lowest} levels up to {start}; take fewer"
        )
    times = spaced(highest + 1, steps, "floor", top=start, slack=nudge)
    return [max(time, lowest) for time in times]


def downward(schedule: Schedule, levels: Sequence[int]) -> list[Pair]:
    """The moves from the highest level through all the others to the clean one."""
    return pairs(levels, schedule.clean)


def climb(
    denoise: Denoiser,
    z: Latent,
    levels: Sequence[int],
    schedule: Schedule,
    *,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """The picture z at the highest level: DDIM inversion in len(levels) - 1 moves."""
    up = upward(pairs(levels[1:], levels[0]))
    return invert(denoise, z, up, schedule, told="source", each=each, on_step=on_step)
