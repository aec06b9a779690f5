"""The closed-form priors against the densities they come from."""

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.schedule import Schedule

from .common import SCHEDULES, finite, gaussian, mean, normal

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@every_schedule
def test_the_gaussian_prior_is_the_score_of_its_density(schedule: Schedule) -> None:
    prior, x, t = gaussian(schedule, 0.7), normal(1, 3, 4, 6).requires_grad_(), schedule.T // 3
    alpha, sigma = schedule.at(t)
    density = torch.distributions.Normal(alpha * mean("cat"), (alpha**2 * 0.49 + sigma**2).sqrt())
    (score,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    p = prior.predict(x, schedule.time(t, 1), prior.embed(["cat"]))
    torch.testing.assert_close(p.eps, -sigma * score)


@every_schedule
@pytest.mark.parametrize("prompt", ["", "red", "blue bar"])
def test_the_finite_prior_is_the_score_of_its_density(schedule: Schedule, prompt: str) -> None:
    prior, x, t = finite(schedule), normal(1, 3, 4, 4).requires_grad_(), schedule.T * 2 // 3
    alpha, sigma = schedule.at(t)
    pictures = [
        p for p, c in zip(prior.parameters()["pictures"], prior._captions, strict=True) if prompt in c
    ]
    distances = torch.stack([((x - alpha * p) ** 2).sum() for p in pictures])
    (score,) = torch.autograd.grad((-distances / (2 * sigma.flatten() ** 2)).logsumexp(0), x)
    p = prior.predict(x, schedule.time(t, 1), prior.embed([prompt]))
    torch.testing.assert_close(p.eps, -sigma * score)


def test_told_another_time_they_answer_as_a_network_would() -> None:
    schedule = Schedule.linear()
    for prior in (gaussian(schedule), finite(schedule)):
        x, t, at = normal(1, 3, 4, 4), torch.tensor([500]), torch.tensor([450])
        told = prior.predict(x, t, prior.embed([""]), at)
        torch.testing.assert_close(told.eps, prior.predict(x, t, prior.embed([""])).eps)
        torch.testing.assert_close(schedule.mix(told.x0, told.eps, at), x)


def test_unknown_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="unknown"):
        gaussian().embed(["horse"])
    with pytest.raises(InputError, match="matches"):
        finite().embed(["horse"])
