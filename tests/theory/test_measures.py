"""What the sweep marks by: distance, direction in the model's own terms, and who is beaten."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.core.job import Counted
from scumble.core.schedule import Schedule
from scumble.measuring.measures import DRAWS, distance, margin, pareto
from tests.theory.common import SCHEDULES, finite, gaussian, mean, picture


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_direction_is_the_projection_onto_the_prompts_difference(schedule: Schedule) -> None:
    """On Gaussians: growth = 2 c <b - a, mu_target - mu_source>, c the mean of (k alpha / sigma)^2, and all noise
    drops out.
    """
    std, prior = 0.5, gaussian(schedule, std=0.5)
    c = 0.0
    for k in range(DRAWS):
        alpha, sigma = (float(x) for x in schedule.at(schedule.time(schedule.T * (2 * k + 1) // 16, 1)))
        rest = sigma**2 / (alpha**2 * std**2 + sigma**2)
        c += (rest * alpha / sigma) ** 2 / DRAWS
    a, b = picture(seed=1), picture(seed=2)
    grown = margin(prior, b, "cat", "tiger") - margin(prior, a, "cat", "tiger")
    law = 2 * c * float(((b - a) * (mean("tiger") - mean("cat"))).mean())
    assert grown == pytest.approx(law, rel=1e-9)
    across = torch.stack(
        [mean("tiger")[:, 1] - mean("cat")[:, 1], mean("cat")[:, 0] - mean("tiger")[:, 0]], 1
    )
    aside = torch.zeros_like(a)
    aside[:, :2] = across  # changes a lot, but at right angles to what the prompts ask
    assert margin(prior, a + aside, "cat", "tiger") == pytest.approx(
        margin(prior, a, "cat", "tiger"), rel=1e-9
    )


def test_margin_names_the_kind_of_a_picture() -> None:
    """A perfect network of six pictures knows each, and equal prompts explain equally."""
    prior = finite()
    for i, caption in enumerate(["a red dot", "a red bar", "a blue dot"]):
        x = prior._pictures[i : i + 1]
        other = "a green bar"
        assert margin(prior, x, other, caption) > 0 > margin(prior, x, caption, other)
        assert margin(prior, x, other, caption) == -margin(prior, x, caption, other)
        assert margin(prior, x, caption, caption) == 0


def test_margin_costs_what_it_says_and_draws_nothing_else() -> None:
    prior = Counted(gaussian())
    state = torch.get_rng_state()
    first = margin(prior, picture(), "cat", "tiger")
    assert prior.rows == 2 * DRAWS
    assert margin(prior, picture(), "cat", "tiger") == first
    assert torch.equal(torch.get_rng_state(), state)
    assert not math.isclose(margin(prior, picture(), "cat", "tiger", draws=2), first)


def test_distance_is_in_8_bit_steps(circle: Image.Image) -> None:
    assert distance(circle, circle) == 0
    lighter = Image.fromarray(np.asarray(circle) // 2)
    expected = np.sqrt(((np.asarray(circle, float) - np.asarray(lighter, float)) ** 2).mean())
    assert distance(circle, lighter) == pytest.approx(expected)


def test_pareto() -> None:
    edits = [(5, 1.0), (3, 0.5), (5, 0.5), (6, 1.0), (9, 2.0), (0, 0), (1, -1), (5, 1.0), (2, 0.0)]
    assert pareto(edits) == [True, True, False, False, True, False, False, True, False]
    assert pareto([]) == []
    assert pareto([(0.0, 0.0)]) == [False]
