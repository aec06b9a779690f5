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
    published by its authors). `terminal`: the grid is stretched so that its last level is this one.
    """

    shift: float = 1.0
    across: tuple[float, float] | None = None
    between: tuple[int, int] = (256, 4096)
    tokens: int = 4096
    linear: bool = False
    ends: Literal["steps", "table"] = "steps"
    terminal: float | None = None

    @property
    def strength(self) -> float:
        """m, on this canvas."""
        if self.across is None:
            return self.shift
        (low, high), (few, many) = self.across, self.between
        line = low + (high - low) * (self.tokens - few) / (many - few)
        return line if self.linear else math.exp(line)

    def levels(self, steps: int, T: int) -> list[float]:
        """The `steps` levels sigma in (0, 1] that a grid visits, ascending; the clean level is left out."""
        if not 1 <= steps <= T:
            raise InputError(f"steps: {steps}; this model has levels for 1 to {T} steps")
        if self.ends == "steps":
            even = [k / steps for k in range(1, steps + 1)]
        else:
            last = _shifted(1 / T, 1.0 if self.across else self.shift)
            even = [1 - (1 - last) * k / max(steps - 1, 1) for k in reversed(range(steps))]
        found = [_shifted(u, self.strength) for u in even]
        if self.terminal is None or found[0] == 1:
            return found
        stretch = (1 - found[0]) / (1 - self.terminal)
        return [1 - (1 - sigma) / stretch for sigma in found]


def _shifted(u: float, m: float) -> float:
    return m * u / (m * u + (1 - u))  # exactly 1 at 1, where 1 + (m - 1) is not always m
