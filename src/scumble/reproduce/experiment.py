"""What an experiment is: it measures a table, judges the published claim by the table alone, and draws a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scumble.core.request import param, validate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scumble.reproduce.material import Material

TableRow = Mapping[str, Any]
Floats = NDArray[np.float64]
MOST_OF = 0.75
"""The share of pictures in which a difference must show, besides in the mean, to be taken for one."""


@dataclass(frozen=True)
class Measured:
    """The table of all numbers in the figure, one row per picture and setting, and the pictures shown."""

    rows: Sequence[TableRow]
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])


@dataclass(frozen=True)
class Verdict:
    """Whether the claim holds here, and one sentence with the numbers that show it."""

    holds: bool
    finding: str

    @property
    def sentence(self) -> str:
        return f"{'Holds' if self.holds else 'Does not hold'}: {self.finding}."


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One figure: n pictures, and the settings of what is done to them.

    claim: what was published, and where. criterion: when it counts as holding. needs: what must be known of every
    edit, "mask" or "truth".
    """

    name: ClassVar[str]
    title: ClassVar[str]
    claim: ClassVar[str]
    criterion: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    height: ClassVar[float] = 4.2  # inches

    n: int = param(8, ge=1, help="pictures")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def pictures(self) -> int:
        """How many pictures it uses."""
        return self.n

    def within(self, count: int) -> Experiment:
        """The same with at most this many pictures."""
        return replace(self, n=min(self.n, count))

    def evaluations(self, guidance: float) -> int:
        """How many rows the network will evaluate."""
        raise NotImplementedError

    def measure(self, material: Material) -> Measured:
        """Measures everything that is drawn."""
        raise NotImplementedError

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        """The verdict on a table, as measured here or read from its file."""
        raise NotImplementedError

    def draw(self, figure: Figure, measured: Measured) -> None:
        """The figure, on an empty one."""
        raise NotImplementedError


def some(rows: Iterable[TableRow], **where: object) -> list[TableRow]:
    """The rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def values(rows: Iterable[TableRow], column: str) -> Floats:
    """A column's values, without unknown ones."""
    return np.array([row[column] for row in rows if row[column] is not None], dtype=np.float64)


def mean(rows: Iterable[TableRow], column: str) -> float:
    """A column's mean over the rows in which it is known; NaN where it never is."""
    found = values(rows, column)
    return float(found.mean()) if len(found) else np.nan


def levels(rows: Iterable[TableRow], column: str) -> list[Any]:
    """The different values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def share(holds: Iterable[object]) -> float:
    """The share of pictures for which something holds."""
    return float(np.mean([bool(h) for h in holds]))


def percent(part: float) -> str:
    """A share in words: "75 %"."""
    return f"{100 * part:.0f} %"


def curve(rows: Sequence[TableRow], x: str, y: str) -> tuple[Floats, Floats, Floats]:
    """(x, mean of y, its standard error over the pictures), one of each for every level of x."""
    found = [(level, values(some(rows, **{x: level}), y)) for level in levels(rows, x)]
    found = [(level, v) for level, v in found if len(v)]
    errors = [v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0 for _, v in found]
    return np.array([level for level, _ in found]), np.array([v.mean() for _, v in found]), np.array(errors)


def rows_of_guidance(guidance: float) -> int:
    """Of one guided prediction."""
    return 1 if guidance == 1 else 2
