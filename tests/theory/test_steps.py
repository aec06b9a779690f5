"""One move, taken by itself: what the loops fold."""

import pytest
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.guidance import guide, steered
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.loops import steps
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.loops.dpm import dpm

from .common import CHAINS, SCHEDULES, gaussian, normal


def predicted(schedule: Schedule, x: Tensor, t: float) -> Prediction:
    prior = gaussian(schedule)
    return prior.predict(x, schedule.time(t, len(x)), prior.embed(["cat"] * len(x)))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_move_up_undoes_the_move_down_of_the_same_prediction(name: str) -> None:
    schedule, x = SCHEDULES[name], normal(2, 3, 4, 6)
    p = predicted(schedule, x, 30)
    down = steps.ddim(p, x, 30, 20, schedule)
    assert down.std is None
    torch.testing.assert_close(steps.ddim(p, down.mean, 20, 30, schedule).mean, x)
    clean = schedule.clean
    torch.testing.assert_close(steps.ddim(p, x, 30, clean, schedule).mean, p.x0)


@pytest.mark.parametrize("name", CHAINS)
def test_at_eta_one_three_steps_are_the_same(name: str) -> None:
    schedule, x = CHAINS[name], normal(2, 3, 4, 6)
    p = predicted(schedule, x, 30)
    moves = [
        steps.ddim(p, x, 30, 20, schedule, eta=1),
        steps.ddpm(p, x, 30, 20, schedule),
        steps.dpm(p, x, 30, 20, schedule, order=1),
        steps.dpm(p, x, 30, 20, schedule, order=2),  # nothing came before
    ]
    for move in moves[1:]:
        torch.testing.assert_close(move.mean, moves[0].mean)
        torch.testing.assert_close(move.std, moves[0].std)


@pytest.mark.parametrize("name", SCHEDULES)
def test_up_again_and_down_again_keeps_what_is_known(name: str) -> None:
    """Forward from s to t, then the posterior of the true x0: on average the state it came from."""
    schedule, x0 = SCHEDULES[name], normal(1, 3, 4, 6)
    x_s = schedule.mix(x0, normal(1, 3, 4, 6, seed=2), 20)
    up = steps.forward(x_s, 20, 35, schedule)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule.at(20), schedule.at(35)
    scale = alpha_t / alpha_s
    torch.testing.assert_close(up.mean, scale * x_s)
    assert up.std is not None
    torch.testing.assert_close(scale**2 * sigma_s**2 + up.std**2, sigma_t**2)
    x_t = up.draw(up.mean, Noise(4))
    torch.testing.assert_close(x_t, scale * x_s + up.std * Noise(4).like(x_s))
    torch.testing.assert_close(up.draw(0 * up.mean, Noise(4)), x_t - up.mean)


def test_the_loops_fold_the_steps() -> None:
    schedule, x = Schedule.linear(), normal(2, 3, 4, 6)
    prior = gaussian()
    denoise = guide(prior, prior.embed(["cat"] * 2), prior.embed([""] * 2), 1)
    moves, noise, ours, before = schedule.grid(6), Noise(5, 2), x, None
    for t, s in moves:
        p = denoise(ours, schedule.time(t, 2), None)
        move = steps.dpm(p, ours, t, s, schedule, before=before)
        ours, before = move.draw(move.mean, noise), (t, p.x0)
    torch.testing.assert_close(dpm(denoise, x, moves, schedule, noise=Noise(5, 2)), ours)


def guided_by_bayes(schedule: Schedule, rows: int):
    """(denoiser of the null prompt, of "cat", d/dx_t log p("cat" | x_t)): Bayes, with eps = -sigma grad log p."""
    prior = gaussian(schedule)
    null, cat = (
        guide(prior, prior.embed([word] * rows), prior.embed([""] * rows), 1) for word in ("", "cat")
    )

    def gradient(x_t: Latent, p: Prediction, t: Time) -> Latent:
        return (p.eps - cat(x_t, t, None).eps) / schedule.at(t)[1]

    return null, cat, gradient


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_steered_score_is_the_score_of_what_it_is_steered_to(name: str) -> None:
    schedule, x = SCHEDULES[name], normal(2, 3, 4, 6)
    null, cat, gradient = guided_by_bayes(schedule, 2)
    moves = schedule.grid(10)[1:]  # not from pure noise, where eps says nothing about x0
    torch.testing.assert_close(
        ddim(steered(null, schedule, gradient), x, moves, schedule), ddim(cat, x, moves, schedule)
    )


def test_shifting_the_mean_comes_to_the_same_as_steps_get_small() -> None:
    schedule, x = Schedule.linear(), normal(2, 3, 4, 6)
    null, cat, gradient = guided_by_bayes(schedule, 2)

    def shift(mean: Latent, var: Tensor, x_t: Latent, p: Prediction, t: Time) -> Latent:
        return mean + var * gradient(x_t, p, t)

    errors: list[float] = []
    for steps_taken in (50, 200):
        moves = schedule.grid(steps_taken)
        shifted = ddpm(null, x, moves, schedule, noise=Noise(5, 2), shift=shift)
        errors.append(float((shifted - ddpm(cat, x, moves, schedule, noise=Noise(5, 2))).abs().max()))
    plain = ddpm(null, x, moves, schedule, noise=Noise(5, 2)) - ddpm(
        cat, x, moves, schedule, noise=Noise(5, 2)
    )
    assert errors[1] < errors[0] / 2
    assert errors[1] < float(plain.abs().max()) / 5


def test_a_shift_that_would_do_nothing_is_refused() -> None:
    schedule, x = Schedule.linear(), normal(1, 3, 4, 6)
    null, _, _ = guided_by_bayes(schedule, 1)
    with pytest.raises(
        InputError, match=r"eta: 0; .* guide the score instead \(scumble.core.guidance.steered\)"
    ):
        ddim(null, x, schedule.grid(5), schedule, shift=lambda mean, var, x_t, p, t: mean)
