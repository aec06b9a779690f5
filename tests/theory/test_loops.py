"""DDIM, DDPM and inversion on priors whose flow is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from scumble.core.grids import upward
from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.schedule import Schedule
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.loops.invert import invert

from .common import SCHEDULES, finite, gaussian, mean, normal, picture


def exact_flow(x: Tensor, schedule: Schedule, t: float, s: float, mu: Tensor, std: float) -> Tensor:
    """Where the probability flow takes x on N(mu, std^2): its standard score is kept."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t), schedule.at(s)
    z = (x - alpha_t * mu) / (alpha_t**2 * std**2 + sigma_t**2).sqrt()
    return alpha_s * mu + (alpha_s**2 * std**2 + sigma_s**2).sqrt() * z


@pytest.mark.parametrize("schedule", [Schedule.linear(), Schedule.flow()], ids=["linear", "flow"])
def test_ddim_converges_with_order_one(schedule: Schedule) -> None:
    prior, x = gaussian(schedule), normal(1, 3, 4, 6)
    denoise = guide(prior, prior.embed(["cat"]), prior.embed([""]), 1)
    errors = []
    for steps in (50, 100, 200):
        moves = schedule.grid(steps)[: steps * 4 // 5]
        truth = exact_flow(x, schedule, moves[0][0], moves[-1][1], mean("cat"), 0.5)
        errors.append(float((ddim(denoise, x, moves, schedule) - truth).abs().max()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders == pytest.approx([1, 1], abs=0.15)


def test_on_a_flow_ddim_is_euler() -> None:
    schedule = Schedule.flow()
    prior, x = finite(schedule), normal(1, 3, 4, 4)
    denoise = guide(prior, prior.embed(["red"]), prior.embed([""]), 3.0)
    euler = x
    for t, s in schedule.grid(8):
        p = denoise(euler, schedule.time(t, 1), None)
        euler = euler + (s - t) / schedule.T * (p.eps - p.x0)
    torch.testing.assert_close(ddim(denoise, x, schedule.grid(8), schedule), euler)


@pytest.mark.parametrize("name", SCHEDULES)
def test_sampling_the_finite_prior_ends_at_one_of_its_pictures(name: str) -> None:
    schedule = SCHEDULES[name]
    prior, x = finite(schedule), normal(4, 3, 4, 4)
    denoise = guide(prior, prior.embed(["red dot", "blue bar", "dot", ""]), prior.embed([""]), 1)
    pictures = prior.parameters()["pictures"]
    for y in (
        ddim(denoise, x, schedule.grid(40), schedule),
        ddim(denoise, x, schedule.grid(40), schedule, eta=0.7, noise=Noise(0, 4)),
        ddpm(denoise, x, schedule.grid(40), schedule, noise=Noise(0, 4)),
    ):
        distance = (y[:, None] - pictures[None]).abs().amax((2, 3, 4))
        nearest = distance.argmin(1).tolist()
        assert float(distance.min(1).values.max()) < 0.02
        assert nearest[0] == 0
        assert nearest[1] == 3
        assert nearest[2] in (0, 2, 4)


@pytest.mark.parametrize("told", ["source", "target"])
def test_inversion_returns_ever_closer(told: str) -> None:
    schedule = Schedule.linear()
    prior, x = gaussian(schedule), picture()
    denoise = guide(prior, prior.embed(["cat"]), prior.embed([""]), 1)
    errors = []
    for steps in (25, 200):
        moves = schedule.grid(steps)
        noise = invert(denoise, x, upward(moves), schedule, told=told)
        errors.append(float((ddim(denoise, noise, moves, schedule) - x).abs().max()))
    assert errors[1] < errors[0] / 4
    assert errors[1] < 0.05


def test_inversion_conventions_differ_in_the_time_told() -> None:
    schedule, told = Schedule.linear(), []

    def denoise(x: Tensor, t: Tensor, at: Tensor | None = None):
        told.append((int(t), int(at)))
        return schedule.predict(x, at, eps=torch.zeros_like(x))

    up = [(-1, 4), (4, 9)]
    invert(denoise, picture(), up, schedule, told="target")
    invert(denoise, picture(), up, schedule, told="source")
    assert told == [(4, -1), (9, 4), (0, -1), (4, 4)]  # no network knows a time -1


def test_shift_moves_the_mean_and_each_the_state() -> None:
    schedule, x = Schedule.linear(), normal(1, 3, 4, 6)
    prior = gaussian(schedule)
    denoise = guide(prior, prior.embed(["cat"]), prior.embed([""]), 1)
    moves = schedule.grid(5)
    plain = ddpm(denoise, x, moves[:1], schedule, noise=Noise(3))
    _, _, std = schedule.posterior(*moves[0])
    moved = ddpm(
        denoise, x, moves[:1], schedule, noise=Noise(3), shift=lambda mean, var, x_t, p, t: mean + var
    )
    torch.testing.assert_close(moved - plain, (std**2).expand_as(x))
    forced = ddim(denoise, x, moves, schedule, each=lambda x_s, p, t, s: x if s == -1 else x_s)
    torch.testing.assert_close(forced, x)


def test_eta_without_noise_is_refused() -> None:
    with pytest.raises(TypeError, match="noise"):
        ddim(lambda x, t, at: None, picture(), [(5, 3)], Schedule.linear(), eta=0.5)
