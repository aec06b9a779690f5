"""Schedules, conversions, posteriors and grids."""

from itertools import pairwise
from typing import Literal

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.grids import SPACINGS, Jump, jumps, ordered, pairs, respace, spaced, upward
from scumble.core.schedule import Schedule
from scumble.core.warp import Warp

from .common import CHAINS, SCHEDULES, normal

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_chain = pytest.mark.parametrize("schedule", CHAINS.values(), ids=CHAINS)


@every_schedule
def test_the_ends_are_the_picture_and_pure_noise(schedule: Schedule) -> None:
    assert [float(c) for c in schedule.at(schedule.clean)] == [1, 0]
    assert [float(c) for c in schedule.at(schedule.T)] == [0, 1]


@every_chain
def test_chains_preserve_variance_and_lose_signal(schedule: Schedule) -> None:
    alpha, sigma = schedule.at(torch.arange(-1, schedule.T + 1))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert bool((alpha.diff(dim=0) < 0).all())


@every_schedule
@pytest.mark.parametrize("output", ["x0", "eps", "v", "flow"])
def test_predict_recovers_both_ends(schedule: Schedule, output: str) -> None:
    t = torch.tensor([1, schedule.T // 3, schedule.T - 1])
    x0, eps = normal(3, 3, 4, 5), normal(3, 3, 4, 5, seed=8)
    alpha, sigma = schedule.at(t)
    x_t = schedule.mix(x0, eps, t)
    outputs = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0, "flow": eps - x0}
    p = schedule.predict(x_t, t, **{output: outputs[output]})
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)
    torch.testing.assert_close(alpha * p.x0 + sigma * p.eps, x_t)


@every_schedule
def test_predict_is_finite_at_both_ends(schedule: Schedule) -> None:
    x = normal(1, 3, 4, 5)
    for t in (schedule.clean, schedule.T):
        for output in ("x0", "eps", "v", "flow"):
            p = schedule.predict(x, t, **{output: x})
            assert bool(p.x0.isfinite().all() and p.eps.isfinite().all())


def test_predict_takes_one_end_only() -> None:
    x = normal(1, 3, 4, 5)
    with pytest.raises(TypeError, match="exactly one"):
        Schedule.linear().predict(x, 3, x0=x, eps=x)


@every_schedule
def test_forward_jumps_compose(schedule: Schedule) -> None:
    r, s, t = 3, schedule.T // 2, schedule.T - 2
    (a, std_a), (b, std_b), (c, std_c) = (
        schedule.forward(r, s),
        schedule.forward(s, t),
        schedule.forward(r, t),
    )
    torch.testing.assert_close(a * b, c)
    torch.testing.assert_close((b * std_a) ** 2 + std_b**2, std_c**2)


@every_schedule
def test_posterior_is_that_of_a_gaussian(schedule: Schedule) -> None:
    """Conditioning x_s on x_t by the formula for jointly Gaussian variables, given x0 = 1."""
    s, t = schedule.T // 4, schedule.T // 2
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule.at(s), schedule.at(t)
    scale, _ = schedule.forward(s, t)
    gain = scale * sigma_s**2 / sigma_t**2
    c_x0, c_xt, std = schedule.posterior(t, s)
    torch.testing.assert_close(c_xt, gain)
    torch.testing.assert_close(c_x0, alpha_s - gain * alpha_t)
    torch.testing.assert_close(std**2, sigma_s**2 - gain * scale * sigma_s**2)


@every_chain
def test_ddim_with_eta_one_is_the_ddpm_posterior(schedule: Schedule) -> None:
    x0, x_t = normal(1, 3, 4, 5), normal(1, 3, 4, 5, seed=8)
    for t, s in schedule.grid(10):
        c_x0, c_xt, std = schedule.posterior(t, s)
        kept, fresh = schedule.ddim(t, s, eta=1)
        p = schedule.predict(x_t, t, x0=x0)
        torch.testing.assert_close(schedule.at(s)[0] * p.x0 + kept * p.eps, c_x0 * x0 + c_xt * x_t)
        if s != schedule.clean:
            torch.testing.assert_close(fresh, std)


@every_chain
def test_learned_range_lies_between_the_fixed_variances(schedule: Schedule) -> None:
    ends = [schedule.posterior(30, 20, kind)[2] for kind in ("fixed_small", "fixed_large")]
    for raw, std in zip((-1.0, 1.0), ends, strict=True):
        var = torch.full((1, 3, 4, 5), raw, dtype=torch.float64)
        torch.testing.assert_close(schedule.posterior(30, 20, "learned_range", var)[2], std.expand_as(var))
    with pytest.raises(InputError, match="variance channels"):
        schedule.posterior(30, 20, "learned_range")


@every_chain
def test_the_clean_level_has_a_stand_in_variance(schedule: Schedule) -> None:
    """Dhariwal & Nichol: entry 0 of the variance table is entry 1, of the chain that is walked."""
    torch.testing.assert_close(schedule.posterior(0, -1)[2], schedule.posterior(1, 0)[2])
    torch.testing.assert_close(schedule.posterior(5, -1, above=20)[2], schedule.posterior(20, 5)[2])
    assert float(schedule.posterior(5, -1, "fixed_large")[2]) == float(schedule.posterior(5, -1)[2])


@pytest.mark.parametrize("spec", ["10", "ddim10", "2,3,5", "10,0", "1"])
def test_a_respaced_chain_is_pairs_of_the_original(spec: str) -> None:
    """Rebuilding the process from respaced betas, as the ADM code does, changes no coefficient."""
    schedule = Schedule.linear()
    times = respace(1000, spec)
    abar = schedule.abar[times]
    respaced = Schedule.from_betas(1 - abar / torch.cat([abar.new_ones(1), abar[:-1]]))
    for k, (t, s) in enumerate(reversed(pairs(times, -1))):
        ours = schedule.posterior(t, s, above=times[k + 1] if k + 1 < len(times) else None)
        theirs = respaced.posterior(k, k - 1)
        for a, b in zip(ours[:2], theirs[:2], strict=True):
            torch.testing.assert_close(a, b)
        if k + 1 < len(times):
            torch.testing.assert_close(ours[2], theirs[2])


def test_grids() -> None:
    stable_diffusion = Schedule.scaled_linear(offset=1, last=0)
    assert stable_diffusion.grid(4) == [(751, 501), (501, 251), (251, 1), (1, 0)]
    assert Schedule.linear().grid(4) == [(750, 500), (500, 250), (250, 0), (0, -1)]
    assert Schedule.linear().grid(4, spacing="trailing") == [(999, 749), (749, 499), (499, 249), (249, -1)]
    assert Schedule.linear().grid(4, spacing="linspace") == [(999, 666), (666, 333), (333, 0), (0, -1)]
    assert Schedule.linear().grid("ddim4") == [(750, 500), (500, 250), (250, 0), (0, -1)]
    assert Schedule.linear().grid("4") == [(999, 666), (666, 333), (333, 0), (0, -1)]
    assert Schedule.linear().grid("2,1") == [(500, 499), (499, 0), (0, -1)]
    assert Schedule.flow().grid(2) == [(1000, 500), (500, 0)]
    assert upward([(9, 4), (4, 0)]) == [(0, 4), (4, 9)]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("offset", [0, 1])
def test_grids_of_any_length_stay_on_the_table(spacing: str, offset: int) -> None:
    for steps in (1, 2, 3, 7, 50, 333, 999, 1000):
        times = spaced(1000, steps, spacing, offset)
        assert len(times) == steps
        assert all(a < b for a, b in pairwise(times))
        assert min(times) >= 0
        assert max(times) < 1000


def test_the_seven_kinds_of_grids() -> None:
    """At 10 of 1000, where they all exist: what each is known by."""
    grid = {kind: spaced(1000, 10, kind, 1) for kind in SPACINGS}
    assert grid["leading"] == [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
    assert grid["trailing"] == [99, 199, 299, 399, 499, 599, 699, 799, 899, 999]
    assert grid["linspace"] == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999] == respace(1000, "10")
    assert grid["ddim"] == grid["uniform"] == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert grid["ldm"] == [t + 1 for t in grid["uniform"]]
    assert grid["quad"] == [0, 9, 39, 88, 158, 246, 355, 483, 632, 800]
    assert spaced(1000, 25, "linspace")[1] == 42
    assert spaced(1000, 25, "floor")[1] == 41
    assert spaced(1000, 40, "floor", top=500)[-1] == 500
    ends = {kind: Schedule.scaled_linear(offset=1, last=0).grid(10, spacing=kind)[-1][1] for kind in SPACINGS}
    assert {kind for kind, end in ends.items() if end == -1} == {"floor", "ddim", "uniform", "quad"}


def test_slack_keeps_products_that_rounding_left_below_a_whole_number() -> None:
    assert spaced(1000, 50, "floor", top=98)[:2] == [0, 1]  # 1 / 49 * 98 is 1.9999999999999998
    assert spaced(1000, 50, "floor", top=98, slack=1e-6) == list(range(0, 99, 2))


@pytest.mark.parametrize(
    ("spacing", "steps", "message"),
    [
        (
            "uniform",
            30,
            "spacing: 'uniform' cannot cut 1000 levels into 30; take a number of steps that divides 1000",
        ),
        ("ldm", 30, "spacing: 'ldm' cannot cut 1000 levels into 30"),
        ("ldm", 1000, "and fewer of them"),
        ("ddim", 600, "respacing: no integer stride cuts 1000 levels into 600"),
        ("quad", 500, "spacing: 'quad' with 500 steps falls on one level twice; take fewer steps"),
    ],
)
def test_grids_that_do_not_exist_are_refused(spacing: str, steps: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule.linear().grid(steps, spacing=spacing)


def test_jumps_pass_every_stretch_so_often_as_asked() -> None:
    order = jumps(12, Jump(3, 4))
    moves = list(pairwise(order))
    downward = [a for a, b in moves if b < a]
    assert all(abs(a - b) == 1 for a, b in moves)
    assert [downward.count(k) for k in range(12)] == [1, *[4] * 9, 1, 1]
    assert jumps(12) == list(range(11, -2, -1))
    assert jumps(12, Jump(3, 4), start=0) == jumps(12)


def test_ordered_moves_lead_from_one_to_the_next() -> None:
    grid = Schedule.linear().grid(6)
    moves = ordered(grid, jumps(6, Jump(2, 2)))
    assert [t for t, _ in moves[1:]] == [s for _, s in moves[:-1]]
    assert {pair for pair in moves if pair[1] < pair[0]} == set(grid)
    assert {pair for pair in moves if pair[1] > pair[0]} <= set(upward(grid))
    assert ordered(grid, jumps(6)) == grid


@pytest.mark.parametrize("length", [12, 13])
def test_jumps_longer_than_the_grid_are_refused(length: int) -> None:
    with pytest.raises(InputError, match=f"jump_length: {length} levels, but the grid has 12"):
        jumps(12, Jump(length, 2))


@pytest.mark.parametrize("steps", [0, -1, 1001, "0,2000", "ddim600", "three", "5,"])
def test_impossible_grids_are_refused(steps: int | str) -> None:
    with pytest.raises(InputError):
        Schedule.linear().grid(steps)


def test_configs() -> None:
    made = Schedule.from_config(
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
         "set_alpha_to_one": False, "prediction_type": "v_prediction"}
    )  # fmt: skip
    torch.testing.assert_close(made.abar, Schedule.scaled_linear().abar)
    assert (made.prediction, made.offset, made.last) == ("v", 1, 0)
    terminal = Schedule.from_config({"rescale_betas_zero_snr": True})
    assert [float(c) for c in terminal.at(999)] == [0, 1]
    trained = Schedule.from_config({"trained_betas": [0.1, 0.2]})
    torch.testing.assert_close(trained.abar, torch.tensor([0.9, 0.72], dtype=torch.float64))
    with pytest.raises(InputError, match="beta schedule"):
        Schedule.from_config({"beta_schedule": "laplace"})
    with pytest.raises(InputError, match="prediction type"):
        Schedule.from_config({"prediction_type": "score"})


def test_rescaled_times_are_told_in_thousandths() -> None:
    t = torch.tensor([0, 250, 499])
    assert Schedule.linear(500, rescale=True).told(t).tolist() == [0, 500, 998]
    assert Schedule.linear(500).told(t).tolist() == [0, 250, 499]


@every_schedule
def test_a_level_is_found_by_its_noise_to_signal_ratio(schedule: Schedule) -> None:
    for t in (3, schedule.T // 2):
        alpha, sigma = schedule.at(t)
        assert schedule.level(float(sigma / alpha)) == pytest.approx(t)


def test_stable_diffusions_times_on_a_flow() -> None:
    """Equal noise-to-signal ratios; 50 of 1000 would be nearly clean on a flow."""
    chain, flow = Schedule.scaled_linear(), Schedule.flow()
    ratios = [float(chain.at(t)[1] / chain.at(t)[0]) for t in (50, 100, 300, 500, 900, 949)]
    levels = [flow.level(ratio) / 1000 for ratio in ratios]
    assert levels == pytest.approx([0.184, 0.256, 0.454, 0.618, 0.893, 0.916], abs=6e-4)
    assert flow.level(float("inf")) == flow.T


def test_a_shift_moves_a_flows_grid_towards_the_noise() -> None:
    grid = Schedule.flow(warp=Warp(3.0)).grid(4)
    assert [t for t, _ in grid] == pytest.approx([1000, 900, 750, 500])
    assert grid[-1][1] == 0
    assert Schedule.flow(warp=Warp()).grid(4) == Schedule.flow().grid(4)


@pytest.mark.parametrize("ends", ["steps", "table"])
def test_a_shifted_grid_begins_at_pure_noise_exactly(ends: Literal["steps", "table"]) -> None:
    """Rounding must not carry the first time beyond the schedule."""
    for steps in range(1, 60):
        for warp in (Warp(3.0, ends=ends), Warp(across=(0.5, 1.15), tokens=37 * steps, ends=ends)):
            assert Schedule.flow(warp=warp).grid(steps)[0][0] == 1000


def test_a_dynamic_shift_is_fitted_to_the_canvas() -> None:
    schedule = Schedule.flow(warp=Warp(across=(0.5, 1.15)))
    few, many = (schedule.on(n).grid(28)[4][0] for n in (1024, 4096))
    assert (round(few), round(many)) == (918, 950)  # where FlowEdit's published run starts at 512 and 1024 px
    assert schedule.on(4096).grid(28) == schedule.grid(28)
    even = Schedule.scaled_linear()
    assert even.on(1024) is even
