"""Time grids: which levels a loop visits. Seven are in use in published code, and they are not
interchangeable.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise, repeat
from typing import Literal

from scumble.core.errors import InputError
from scumble.core.types import Pair

Spacing = Literal["leading", "trailing", "linspace"]


def pairs(times: Sequence[float], end: float) -> list[Pair]:
    """Ascending times -> the moves down through them and on to the level `end`."""
    return list(pairwise([*reversed(times), end]))


def upward(moves: Sequence[Pair]) -> list[Pair]:
    """The same moves in the opposite direction and order."""
    return [(s, t) for t, s in reversed(moves)]


def portion(steps: int, share: float, *, truncated: bool = False) -> int:
    """How many whole steps a share of them is. Products that rounding has left just below a whole number count as
    that number (0.29 * 100 is 28.999...); `truncated`: they do not, as in the pipelines.
    """
    return int(steps * share + (0 if truncated else 1e-9))


def spaced(T: int, steps: int, spacing: Spacing, offset: int = 0) -> list[int]:
    """`steps` times out of 0..T-1, ascending. An offset that would leave the table is cut to fit."""
    if not 1 <= steps <= T:
        raise InputError(f"steps: {steps}; this model has levels for 1 to {T} steps")
    match spacing:
        case "leading":
            stride = T // steps
            return [k * stride + min(offset, T - 1 - (steps - 1) * stride) for k in range(steps)]
        case "trailing":
            return [round(T - k * T / steps) - 1 for k in reversed(range(steps))]
        case "linspace":
            return [round(k * (T - 1) / max(steps - 1, 1)) for k in range(steps)] if steps > 1 else [0]
        case _:
            raise InputError(f"spacing: {spacing!r}; known are leading, trailing, linspace")


def respace(T: int, spec: str) -> list[int]:
    """ADM's respacing strings (Dhariwal & Nichol 2021), ascending.

    "a,b,c" cuts the T levels into equal sections, the first ones one longer where T does not divide, and
    takes that many levels of each, evenly from its first to its last, rounded. "ddimN" takes the integer
    stride that gives exactly N levels.
    """
    try:
        if spec.startswith("ddim"):
            wanted = int(spec.removeprefix("ddim"))
            return next(list(range(0, T, i)) for i in range(1, T) if len(range(0, T, i)) == wanted)
        counts = [int(count) for count in spec.split(",")]
    except ValueError:
        raise InputError(f"respacing: {spec!r}; write it like '10', '2,3,5' or 'ddim10'") from None
    except StopIteration:
        raise InputError(
            f"respacing: no integer stride cuts {T} levels into {spec.removeprefix('ddim')}"
        ) from None
    times: list[int] = []
    first = 0
    for i, count in enumerate(counts):
        size = T // len(counts) + (i < T % len(counts))
        if not 0 <= count <= size:
            raise InputError(f"respacing: {spec!r} asks for {count} levels of a section that has {size}")
        stride = (size - 1) / (count - 1) if count > 1 else 1
        # Summed, not multiplied: the published grids round the accumulated float.
        times += (
            [first + round(u) for u in accumulate(repeat(stride, count - 1), initial=0.0)] if count else []
        )
        first += size
    return times
