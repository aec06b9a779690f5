"""Weights over time, and where they lead."""

import math

import pytest
import torch

from scumble.core.noise import Noise, Tape
from scumble.core.schedule import Schedule
from scumble.loops.descend import Descending, Uniform, descend
from scumble.scores.dds import DDSScore
from scumble.scores.weighted import WeightedDDSScore, dreamcatalyst, drfs
from scumble.scores.weights import Weights

from .common import finite, gaussian, mean, normal, picture

PRESETS = [dreamcatalyst, drfs]


def sides(prior, x, source="cat", target="tiger", **more):
    texts = {"source": prior.embed([source]), "target": prior.embed([target]), "null": prior.embed([""])}
    return {"reference": x, "guidance": 1.0, **texts, **more}


@pytest.mark.parametrize("weigh", PRESETS)
def test_equal_prompts_leave_the_source_as_it_is(weigh) -> None:
    prior, x = finite(), picture(1, 4, 4, seed=9)
    score = WeightedDDSScore(prior, weigh=weigh, **sides(prior, x, "red", "red"))
    assert torch.equal(descend(score, x, Uniform(9, 50, 949, 0.1), Noise(0)), x)


def test_a_pull_ends_where_it_balances_the_edit() -> None:
    """On Gaussians D = c (d - w (mu_t - mu_s)), c = alpha sigma / var_t: it ends at c w (mu_t - mu_s) / (c + pull)."""
    prior, x, t, pull = gaussian(), picture(), torch.tensor([400]), 0.2

    def weigh(schedule: Schedule, t: torch.Tensor) -> Weights:
        one = torch.ones_like(schedule.at(t)[0])
        return Weights(one, pull * one)

    class Still:
        def __len__(self) -> int:
            return 400

        def __call__(self, noise, rows):
            for _ in range(400):
                yield t, 0.2

    score = WeightedDDSScore(prior, weigh=weigh, **sides(prior, x, guidance=3.0))
    alpha, sigma = prior.schedule.at(t)
    c = alpha * sigma / (0.25 * alpha**2 + sigma**2)
    shift = c * 3 * (mean("tiger") - mean("cat")) / (c + pull)
    torch.testing.assert_close(
        descend(score, x, Still(), Noise(0)), (x + shift).expand_as(x), atol=1e-9, rtol=0
    )


def test_dreamcatalyst_pulls_harder_where_there_is_more_noise() -> None:
    weights = dreamcatalyst(Schedule.linear(), torch.tensor([0, 500, 900]))
    expected = 0.2 + 0.8 * 0.5 ** (1 / math.e)
    torch.testing.assert_close(weights.edit[1].item(), expected)
    torch.testing.assert_close(weights.pull.flatten(), 0.075 * torch.tensor([0, 0.5, 0.9]).double().exp())


def test_drfs_is_its_gradient_in_velocities() -> None:
    """v(x_t, target) - v(z_t, source) + (1 - p) (x - z), x_t = (1 - t) x + t eps + p t (x - z), p = 1 - t."""
    schedule, t = Schedule.flow(), torch.tensor([300.0])
    prior, z, x = finite(schedule), picture(1, 4, 4, seed=9), picture(1, 4, 4, seed=5)
    eps, (p, sigma) = normal(1, 3, 4, 4), schedule.at(t)
    texts = sides(prior, z, "red", "blue")
    target = prior.predict(schedule.mix(x, eps, t) + p * sigma * (x - z), t, texts["target"])
    source = prior.predict(schedule.mix(z, eps, t), t, texts["source"])
    grad = (target.eps - target.x0) - (source.eps - source.x0) + (1 - p) * (x - z)
    torch.testing.assert_close(WeightedDDSScore(prior, weigh=drfs, **texts)(x, t, Tape([eps])), grad)


@pytest.mark.parametrize("schedule", [Schedule.linear(), Schedule.flow()], ids=["chain", "flow"])
def test_looking_all_the_way_ahead_is_flowedit(schedule: Schedule) -> None:
    """With p = 1 a step of rate tau_t - tau_s in the state y = d (1 - tau) is FlowEdit's: d follows sigma~."""
    prior, z, noise = finite(schedule), picture(1, 4, 4, seed=9), Noise(3)

    def all_the_way(schedule: Schedule, t: torch.Tensor) -> Weights:
        alpha, sigma = schedule.at(t)
        scale = alpha + sigma
        return Weights(edit=scale / alpha, pull=-scale / alpha, lead=sigma)

    texts = sides(prior, z, "red", "blue")
    score, moves = WeightedDDSScore(prior, weigh=all_the_way, **texts), schedule.grid(12)[3:]
    x = z
    for t, s in moves:
        tau_t, tau_s = (sigma / (alpha + sigma) for alpha, sigma in (schedule.at(t), schedule.at(s)))
        x = x - (tau_t - tau_s) * score(x, schedule.time(t, 1), noise)
    alpha, sigma = schedule.at(moves[-1][1])
    dds = descend(DDSScore(prior, **texts), z, Descending(schedule, moves), Noise(3))
    torch.testing.assert_close(x - z, alpha / (alpha + sigma) * (dds - z))
