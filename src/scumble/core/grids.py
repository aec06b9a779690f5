"""Time grids: which levels a loop visits. Seven kinds are in use in published code, and they are not interchangeable
(`spaced`). A grid goes down once; `jumps` goes up again on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from typing import Literal, get_args

from scumble.core.errors import InputError
from scumble.core.types import Pair

Spacing = Literal["leading", "trailing", "linspace", "floor", "ddim", "uniform", "quad", "ldm"]
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)


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


def spaced(
    T: int, steps: int, spacing: Spacing, offset: int = 0, *, top: int | None = None, slack: float = 0.0
) -> list[int]:
    """`steps` times out of 0..T-1, ascending.

    | spacing | times of k = 0..steps-1 | in use by |
    |---|---|---|
    | "leading" | k (T // steps) + offset, cut to fit the table | pipelines |
    | "trailing" | round(T - (steps - 1 - k) T / steps) - 1 | pipelines |
    | "linspace" | round(k top / (steps - 1)) | pipelines; ADM's "N" (`respace`), but for halves |
    | "floor" | floor(k / (steps - 1) top + slack) | DiffusionCLIP (slack 0), Asyrp (slack 1e-6) |
    | "ddim" | k i, i the smallest stride that gives exactly `steps` | ADM's "ddimN" |
    | "uniform" | k (T // steps) | Song et al. 2021 |
    | "quad" | floor((k sqrt(0.8 T) / (steps - 1))^2) | Song et al. 2021 |
    | "ldm" | k (T // steps) + 1; its last step goes to level 0 | Rombach et al. 2022; Blended Latent Diffusion |

    `top` (default: T - 1) is the highest time of "linspace" and "floor". Raises InputError for a grid that does not
    exist: the published code of "uniform" and "ldm" makes more times than asked for where `steps` does not
    divide T, and "quad" falls on one level twice where there are many.
    """
    if not 1 <= steps <= T:
        raise InputError(f"steps: {steps}; this model has levels for 1 to {T} steps")
    top, stride, gaps = T - 1 if top is None else top, T // steps, max(steps - 1, 1)
    match spacing:
        case "leading":
            return [k * stride + min(offset, T - 1 - (steps - 1) * stride) for k in range(steps)]
        case "trailing":
            return [round(T - k * T / steps) - 1 for k in reversed(range(steps))]
        case "linspace":
            times = [round(k * top / gaps) for k in range(steps)]
        case "floor":
            # As numpy's linspace rounds, which the published code takes: k times 1 / gaps, and the end itself.
            times = [int((1.0 if k == gaps else k * (1 / gaps)) * top + slack) for k in range(steps)]
        case "ddim":
            times = respace(T, f"ddim{steps}")
        case "uniform":
            times = list(range(0, T, stride))
        case "quad":
            times = [int((k / gaps * (0.8 * T) ** 0.5) ** 2) for k in range(steps)]
        case "ldm":
            times = [t + 1 for t in range(0, T, stride)]
        case _:
            raise InputError(f"spacing: {spacing!r}; known are {', '.join(SPACINGS)}")
    return _existing(times, T, steps, spacing)


def _existing(times: list[int], T: int, steps: int, spacing: Spacing) -> list[int]:
    """The times. Raises InputError unless they are `steps` different levels of the table."""
    if len(times) != steps or times[-1] >= T:
        raise InputError(
            f"spacing: {spacing!r} cannot cut {T} levels into {steps}; take a number of steps that divides {T}"
            + (", and fewer of them" if times[-1] >= T else ", or another spacing")
        )
    if len(set(times)) < steps:
        raise InputError(
            f"spacing: {spacing!r} with {steps} steps falls on one level twice; take fewer steps, or another spacing"
        )
    return times


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


@dataclass(frozen=True)
class Jump:
    """Going `length` levels up again, so that each stretch of them is passed `samples` times."""

    length: int
    samples: int


def jumps(steps: int, *kinds: Jump, singles: int = 1, start: int | None = None) -> list[int]:
    """RePaint's order of levels (Lugmayr et al. 2022, arXiv:2201.09865, appendix B): indices steps-1..0 of a grid's
    ascending times, with jumps up, and -1 for the level where the grid ends.

    `kinds`: jumps from the outermost to the innermost; one of an outer kind renews those inside it. `singles`: how
    often each level is passed by going up by one, as the published code has it. `start`: jumps end at or below this
    index only (default: everywhere).

    Raises InputError for a jump that is not shorter than the grid.
    """
    for kind in kinds:
        if kind.samples > 1 and kind.length >= steps:
            raise InputError(
                f"jump_length: {kind.length} levels, but the grid has {steps}; jump over fewer than its steps"
            )
    budgets = [_budget(steps, kind) for kind in kinds]
    low = steps if start is None else start
    order: list[int] = []
    t = steps
    while t >= 1:
        t -= 1
        order.append(t)
        if t + 1 < steps - 1 and t <= low:
            order += [t + 1, t] * (singles - 1)
        for k in reversed(range(len(kinds))):
            if budgets[k].get(t, 0) and t <= low - kinds[k].length:
                budgets[k][t] -= 1
                order += range(t + 1, t + kinds[k].length + 1)
                t += kinds[k].length
                budgets[k + 1 :] = [_budget(steps, kind) for kind in kinds[k + 1 :]]
    return [*order, -1]


def _budget(steps: int, kind: Jump) -> dict[int, int]:
    """How often a jump may still start, by index."""
    return dict.fromkeys(range(0, steps - kind.length, kind.length), kind.samples - 1)


def ordered(moves: Sequence[Pair], order: Sequence[int]) -> list[Pair]:
    """The moves of a grid in the order of `jumps`: down where the next index is lower, else up by one level."""
    levels = [moves[-1][1], *(t for t, _ in reversed(moves))]  # index -1 first
    return [(levels[a + 1], levels[b + 1]) for a, b in pairwise(order)]
