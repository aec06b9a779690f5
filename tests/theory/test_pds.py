"""PDS: what its posterior's coefficients come to."""

import pytest
import torch

from scumble.core.noise import Noise, Tape
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.methods.pds import PDS
from scumble.scores.dds import DDSScore
from scumble.scores.pds import PDSScore, posterior

from .common import SCHEDULES, finite, normal, picture

TIMES = torch.tensor([1, 51, 101, 501, 901])


@pytest.mark.parametrize("stride", [1, 2, 50])
@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine", "flow"])
def test_the_pull_of_a_consistent_posterior_vanishes(name: str, stride: int) -> None:
    weights = posterior(stride)(SCHEDULES[name], TIMES[1:])
    torch.testing.assert_close(weights.pull, torch.zeros_like(weights.pull), atol=1e-12, rtol=0)
    assert float(weights.edit.min()) > 0.01


def test_the_released_pull_is_the_strides() -> None:
    """psi and chi of the released code on Stable Diffusion's chain; at a stride of one they too are consistent."""
    schedule, t = Schedule.scaled_linear(), torch.tensor([51, 101, 501, 901])
    weights = posterior(2, released=True)(schedule, t)
    psi = torch.tensor([0.6507, 0.3143, 0.0321, 0.0062])
    chi = torch.tensor([0.1530, 0.1155, 0.0821, 0.1035])
    torch.testing.assert_close(weights.pull.flatten().float(), psi, atol=6e-5, rtol=0)
    torch.testing.assert_close(weights.edit.flatten().float(), chi, atol=6e-5, rtol=0)
    alike = posterior(1, released=True)(schedule, t)
    torch.testing.assert_close(alike.pull, torch.zeros_like(alike.pull), atol=1e-12, rtol=0)


def sides(prior, x):
    texts = {"source": prior.embed(["red"]), "target": prior.embed(["blue"]), "null": prior.embed([""])}
    return {"reference": x, "guidance": 3.0, **texts}


@pytest.mark.parametrize("name", ["linear", "flow"])
def test_it_is_the_difference_of_the_posteriors_noises(name: str) -> None:
    """(x_s - mu(x_t)) / std of the target less that of the source, under shared noise at both levels."""
    schedule, t, s = SCHEDULES[name], torch.tensor([400]), torch.tensor([390])
    prior, x, z = finite(schedule), picture(1, 4, 4, seed=9), picture(1, 4, 4, seed=5)
    at_t, at_s = normal(1, 3, 4, 4, seed=2), normal(1, 3, 4, 4, seed=3)
    score = PDSScore(prior, stride=10, **sides(prior, x))
    c_x0, c_xt, std = schedule.posterior(t, s)
    states = [schedule.mix(clean, at_t, t) for clean in (x, z)]
    said = score.branches(*states, t)
    noises = [
        (schedule.mix(clean, at_s, s) - c_x0 * p.x0 - c_xt * x_t) / std
        for clean, x_t, p in zip((x, z), states, said, strict=True)
    ]
    torch.testing.assert_close(score(z, t, Tape([at_t])), noises[1] - noises[0])


def test_so_it_is_a_weighted_dds() -> None:
    prior, x, z, t = finite(), picture(1, 4, 4, seed=9), picture(1, 4, 4, seed=5), torch.tensor([300])
    pds, dds = (Score(prior, **sides(prior, x))(z, t, Noise(1)) for Score in (PDSScore, DDSScore))
    torch.testing.assert_close(pds, posterior(2)(prior.schedule, t).edit * dds)


def test_the_released_pull_holds_the_picture_back() -> None:
    x = picture(1, 4, 4, seed=9)
    request = EditRequest(image=x, source="red", target="blue")
    settings = {"steps": 200, "guidance": 7.5}
    far, near = (PDS(compat=c, **settings)(finite(), request).latent for c in ("", "authors"))
    assert float((near - x).square().mean()) < float((far - x).square().mean())
