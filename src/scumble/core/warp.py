"""The time shift of flows: where their grids look."""

import math
from dataclasses import dataclass
from typing import Literal

from scumble.core.errors import InputError


@dataclass(frozen=True)
class Warp:
    """The time shift of a flow's grid (Esser et al. 2024, arXiv:2403.03206, eq. 23): an even u goes to
    s = m u / (1 + (m - 1) u), which for m > 1 takes more of the steps near the noise.

    m is `shift`; or, where a flow's shift depends on the canvas (`across`), exp of a straight line through (256
    tokens, across[0]) and (4096 tokens, across[1]) at the canvas's `tokens`, in the units of `between`. `linear`: m
    is the line's value itself. `ends` says what the even u are: "steps" 1, ..., 2/n, 1/n (FLUX); "table" n values
    from s(1) to s(1/T), the ends of a table that is shifted itself, so that such grids shift twice (SD3, as
    published by its authors), "solver" those of "steps" times 1 - 1/T (DPM-Solver's of a flow). `fitted`: log m
    is FLUX.2's own function of the canvas and of the number of steps. `terminal`: the grid is stretched so that its
    last level is this one.
    """

    shift: float = 1.0
    across: tuple[float, float] | None = None
    between: tuple[int, int] = (256, 4096)
    tokens: int = 4096
    linear: bool = False
    ends: Literal["steps", "table", "solver"] = "steps"
    terminal: float | None = None
    fitted: bool = False

    def strength(self, steps: int) -> float:
        """m, on this canvas and for so many steps."""
        if self.fitted:
            return math.exp(_flux2(self.tokens, steps))
        if self.across is None:
            return self.shift
        (low, high), (few, many) = self.across, self.between
        line = low + (high - low) * (self.tokens - few) / (many - few)
        return line if self.linear else math.exp(line)

    def levels(self, steps: int, T: int) -> list[float]:
        """The `steps` levels sigma in (0, 1] that a grid visits, ascending; the clean level is left out."""
        if not 1 <= steps <= T:
            raise InputError(f"steps: {steps}; this model has levels for 1 to {T} steps")
        if self.ends != "table":
            top = 1 - 1 / T if self.ends == "solver" else 1.0
            even = [top * k / steps for k in range(1, steps + 1)]
        else:
            last = _shifted(1 / T, 1.0 if self.across else self.shift)
            even = [1 - (1 - last) * k / max(steps - 1, 1) for k in reversed(range(steps))]
        found = [_shifted(u, self.strength(steps)) for u in even]
        if self.terminal is None or found[0] == 1:
            return found
        stretch = (1 - found[0]) / (1 - self.terminal)
        return [1 - (1 - sigma) / stretch for sigma in found]


def _flux2(tokens: int, steps: int) -> float:
    """log m of FLUX.2: lines in the tokens for 10 and for 200 steps, and straight between and beyond them; canvases
    above 4300 tokens take that of 200.
    """
    many = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    return few + (many - few) * (steps - 10) / 190


def _shifted(u: float, m: float) -> float:
    return m * u / (m * u + (1 - u))  # exactly 1 at 1, where 1 + (m - 1) is not always m
