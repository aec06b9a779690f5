"""Means over edits, and intervals that account for the dependence between seeds of one edit.

Each edit counts once, for any number of seeds: its value is the mean over them. Whole edits are resampled (the cluster
bootstrap: Davison & Hinkley 1997, section 3.8), and the interval is given by percentiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `n` edits and its 95 % interval; with one edit there is none (NaN)."""

    mean: float
    low: float
    high: float
    n: int


def by_edit(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """(edit, value) of every seed -> the mean of every edit that has a value."""
    found: dict[str, list[float]] = {}
    for edit, value in values:
        if value is not None:
            found.setdefault(edit, []).append(float(value))
    return {edit: float(np.mean(some)) for edit, some in found.items()}


def estimate(edits: Mapping[str, float]) -> Estimate | None:
    """The mean over edits; None if there are none."""
    return interval(np.array(list(edits.values()))) if edits else None


def difference(a: Mapping[str, float], b: Mapping[str, float]) -> Estimate | None:
    """The mean of a - b over the edits that both have; None if they share none."""
    return estimate({edit: a[edit] - b[edit] for edit in a if edit in b})


def interval(values: NDArray[np.float64], draws: int = DRAWS) -> Estimate:
    """The mean of independent values (n,) and its 95 % bootstrap interval; the same at every call."""
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Estimate(mean=mean, low=np.nan, high=np.nan, n=1)
    # resampled about the mean: where all values are equal the interval is exactly that
    means = mean + _counts(n, draws) @ (values - mean) / n
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(mean=mean, low=float(low), high=float(high), n=n)


@lru_cache(maxsize=16)
def _counts(n: int, draws: int) -> NDArray[np.int16]:
    """(draws, n): how often each resample contains each value."""
    return np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.int16)
