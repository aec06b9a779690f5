"""LEDITS++'s parts: its solver, its masks, and how concepts are written."""

from itertools import pairwise

import pytest
import torch

from scumble.attention.masks import at_least, concept_mask, guidance_mask, smoothed
from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.core.text import Text
from scumble.loops.ddim import ddim
from scumble.loops.dpm import dpm
from scumble.methods.ledits_pp import Concept, LEDITSpp, read
from scumble.priors.exact import GaussianPrior

PRIOR = GaussianPrior({"": 0.4}, 0.5)
X = Noise(2).like(torch.empty(1, 3, 8, 8, dtype=torch.float64))


def test_order_1_is_ddim_with_all_noise_fresh() -> None:
    text, pairs = PRIOR.embed([""]), PRIOR.schedule.grid(20)
    denoise = guide(PRIOR, text, text, 1)
    ours = dpm(denoise, X, pairs, PRIOR.schedule, order=1, noise=Noise(5))
    theirs = ddim(denoise, X, pairs, PRIOR.schedule, eta=1, noise=Noise(5))
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.slow
def test_the_solver_converges_with_its_order() -> None:
    """Its mean, where what the network predicts changes with the level alone."""
    schedule = Schedule.flow()

    def wave(x_t: torch.Tensor, t: torch.Tensor, at: torch.Tensor | None = None) -> Prediction:
        alpha, sigma = schedule.at(t)
        return schedule.predict(x_t, t, x0=(alpha / sigma).log().sin().expand(x_t.shape))

    def end(steps: int, order: int) -> torch.Tensor:
        levels = [900 - 800 * k / steps for k in range(steps + 1)]
        return dpm(wave, X, list(pairwise(levels)), schedule, order=order)

    exact = end(800, 2)
    for order, low, high in ((1, 1.8, 2.2), (2, 3.4, 4.6)):
        coarse, fine = (float((end(steps, order) - exact).abs().max()) for steps in (60, 120))
        assert low < coarse / fine < high


def test_masks_take_the_share_that_the_quantile_leaves_per_picture() -> None:
    x = torch.stack([torch.arange(16.0), 100 * torch.arange(16.0).flip(0)]).reshape(2, 1, 4, 4)
    assert at_least(x, 0.75).sum((1, 2, 3)).tolist() == [4, 4]
    assert torch.equal(at_least(x, 0.75)[1:], at_least(x[1:], 0.75))
    g = torch.zeros(1, 4, 4, 4)
    g[0, :, 1, 2] = torch.tensor([-1.0, 1, -1, 1])  # the channels cancel, their sizes do not
    assert guidance_mask(g, 0.99).nonzero().tolist() == [[0, 0, 1, 2]]


def test_smoothing_keeps_what_is_even_and_spreads_a_point() -> None:
    even = torch.ones(1, 1, 4, 5)
    assert torch.allclose(smoothed(even, 0.5), even)
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1
    narrow, broad = smoothed(point, 0.5), smoothed(point, 0.5**0.5)
    assert float(narrow.sum()) == pytest.approx(1)
    assert float(narrow[0, 0, 2, 2]) == pytest.approx(0.787**2, abs=1e-3)
    assert float(broad[0, 0, 2, 2]) == pytest.approx(0.576**2, abs=1e-3)


def test_a_concept_is_where_its_own_tokens_looked() -> None:
    """Start, end and padding are no part of it."""
    text = Text(
        tokens=torch.zeros(1, 5, 2), prompts=("a cat",), offsets=(((0, 0), (0, 1), (2, 5), (0, 0), (0, 0)),)
    )
    maps = torch.zeros(1, 5, 4, 4)
    maps[0, 0], maps[0, 3:], maps[0, 2, 3, 3] = 9.0, 9.0, 1.0
    mask = concept_mask(maps, text, 0.99, (8, 8), published=False)
    assert mask.nonzero()[:, 2:].tolist() == [[6, 6], [6, 7], [7, 6], [7, 7]]


def test_concepts_are_written_apart_and_a_minus_leads_away() -> None:
    assert read("a tiger; -a cat") == [Concept(prompt="a tiger"), Concept(prompt="a cat", away=True)]
    for empty in ("", "a tiger;", "-"):
        with pytest.raises(InputError, match="has an empty concept; write it like 'a tiger; -a cat'"):
            read(empty)


def test_a_concept_counts_from_its_start_to_its_end_at_its_own_strength() -> None:
    method, rows = LEDITSpp(), [Concept(prompt="a", guidance=7, start=0.25, end=0.75, away=True)]
    assert [float(method._weight(rows, k, 8)) for k in range(8)] == [0, 0, -7, -7, -7, -7, 0, 0]
    assert float(method._weight([Concept(prompt="a")], 0, 8)) == 5
