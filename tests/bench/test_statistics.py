"""The intervals hold what they promise, on data whose truth is known."""

import numpy as np
import pytest

from scumble.bench.statistics import by_edit, difference, estimate, interval


def clustered(rng: np.random.Generator, edits: int, seeds: int, mean: float = 0.3, spread: float = 1.0):
    """(edit, value) rows: every edit has a level of its own, and its seeds scatter little around it."""
    levels = mean + spread * rng.standard_normal(edits)
    return [(str(i), v + 0.2 * rng.standard_normal()) for i, v in enumerate(levels) for _ in range(seeds)]


def test_intervals_clustered_by_edit_cover_the_truth():
    rng, runs, clustering, naive = np.random.default_rng(0), 400, 0, 0
    for _ in range(runs):
        rows = clustered(rng, edits=50, seeds=5)
        per_edit = np.array(list(by_edit(rows).values()))
        found, blind = interval(per_edit, 500), interval(np.array([v for _, v in rows]), 500)
        assert found.mean == pytest.approx(blind.mean)
        clustering += found.low <= 0.3 <= found.high
        naive += blind.low <= 0.3 <= blind.high
    assert 0.91 <= clustering / runs <= 0.98  # 95 %, a little less for percentiles at 50 edits
    assert naive / runs < 0.75  # rows taken for independent promise far too much


def test_intervals_of_shares_cover_the_truth():
    rng, runs = np.random.default_rng(1), 400
    found = [interval(rng.binomial(1, 0.3, 100).astype(float), 500) for _ in range(runs)]
    assert 0.91 <= np.mean([f.low <= 0.3 <= f.high for f in found]) <= 0.98


def test_paired_differences_are_sharper_than_unpaired_ones():
    rng = np.random.default_rng(2)
    a = dict(clustered(rng, edits=200, seeds=1))
    b = {edit: value - 0.1 + 0.05 * rng.standard_normal() for edit, value in a.items()}
    found = difference(a, b)
    assert found is not None
    assert found.mean == pytest.approx(0.1, abs=0.02)
    assert found.low > 0
    one, other = estimate(a), estimate(b)
    assert one is not None
    assert other is not None
    assert one.low < other.high  # apart, the two intervals overlap
    assert found.high - found.low < 0.2 * (one.high - one.low)


def test_paired_differences_use_the_edits_that_both_have():
    found = difference({"a": 1.0, "b": 5.0, "c": 9.0}, {"b": 1.0, "c": 2.0, "d": 100.0})
    assert found is not None
    assert (found.mean, found.n) == (5.5, 2)
    assert difference({"a": 1.0}, {"b": 1.0}) is None


def test_an_edit_counts_once_whatever_the_number_of_its_seeds():
    assert by_edit([("a", 1), ("a", 0), ("b", 1), ("c", None), ("b", None)]) == {"a": 0.5, "b": 1.0}
    found = estimate(by_edit([("a", 1.0)] * 9 + [("b", 0.0)]))
    assert found is not None
    assert (found.mean, found.n) == (0.5, 2)


def test_degenerate_samples():
    assert estimate({}) is None
    alone = interval(np.array([3.0]))
    assert (alone.mean, alone.n) == (3.0, 1)
    assert np.isnan([alone.low, alone.high]).all()
    same = interval(np.full(7, 0.25))
    assert same.low == same.high == same.mean
    assert interval(np.arange(9.0)) == interval(np.arange(9.0))
