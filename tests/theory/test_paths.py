"""FlowEdit and edit-friendly inversion are descents along the DDS score, step by step."""

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.grids import pairs
from scumble.core.noise import Noise, Tape
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.loops.descend import Descending, descend
from scumble.loops.descend import EditFriendly as EditFriendlyPlan
from scumble.methods.edit_friendly import EditFriendly
from scumble.methods.flowedit import FlowEdit
from scumble.scores.dds import DDSScore

from .common import finite, gaussian, mean, normal, picture

SCHEDULES = {
    "chain": Schedule.linear(),
    "sd": Schedule.scaled_linear(offset=1, last=0),
    "flow": Schedule.flow(),
}
GUIDANCE = {"guidance": 3.0, "source_guidance": 1.5}
STEPS = {"steps": 12, "strength": 0.75}  # nine steps, none of them from pure noise


def request(x, noise, mask=None):
    return EditRequest(image=x, source="red", target="blue", mask=mask, noise=noise, keep=("trajectory",))


def descent(prior, x, plan, noise, mask=None):
    """Every state of a descent along the DDS score."""
    texts = {"source": prior.embed(["red"]), "target": prior.embed(["blue"]), "null": prior.embed([""])}
    score = DDSScore(prior, reference=x, **texts, **GUIDANCE)
    states: list[torch.Tensor] = []
    descend(score, x, plan, noise, mask=mask, on_step=lambda k, n, t, x, clean: states.append(x))
    return states


def soft_mask():
    return torch.linspace(0, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)


def draws(n, seed=0):
    return [normal(1, 3, 4, 4, seed=seed + k) for k in range(n)]


@pytest.mark.parametrize("mask", [None, soft_mask()], ids=["free", "masked"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_flowedit_is_a_descending_dds(name: str, mask) -> None:
    """y_s = alpha_s (x - source), at every step."""
    schedule = SCHEDULES[name]
    prior, x, noise = finite(schedule), picture(1, 4, 4, seed=9), draws(9)
    ours = FlowEdit(**STEPS, **GUIDANCE)(prior, request(x, Tape(noise), mask))
    times = [t for t, _ in schedule.grid(12)[3:]]
    moves = pairs(times[::-1], schedule.clean)
    theirs = descent(prior, x, Descending(schedule, moves), Tape(noise), mask)
    for (_, s), z, clean in zip(moves, ours.kept["trajectory"], theirs, strict=True):
        torch.testing.assert_close(z - x, schedule.at(s)[0] * (clean - x))
    torch.testing.assert_close(ours.latent, theirs[-1])
    assert float((ours.latent - x).abs().max()) > 0.1


@pytest.mark.parametrize("mask", [None, soft_mask()], ids=["free", "masked"])
@pytest.mark.parametrize("name", ["chain", "flow"])
def test_edit_friendly_is_dds_with_its_step_sizes(name: str, mask) -> None:
    """With eta = 1, the last noise map kept and the same final level; its noises are drawn upward."""
    schedule = SCHEDULES[name]
    prior, x, noise = finite(schedule), picture(1, 4, 4, seed=9), draws(9)
    ours = EditFriendly(**STEPS, **GUIDANCE)(prior, request(x, Tape(noise[::-1]), mask))
    moves = schedule.grid(12)[3:]
    theirs = descent(prior, x, EditFriendlyPlan(schedule, moves), Tape(noise), mask)
    for k, ((_, s), x_s, clean) in enumerate(zip(moves, ours.kept["trajectory"], theirs, strict=True), 1):
        level = schedule.mix(x, noise[k], s) if k < len(moves) else x
        torch.testing.assert_close(x_s - level, schedule.at(s)[0] * (clean - x))
    torch.testing.assert_close(ours.latent, theirs[-1])


def test_without_noise_of_its_own_edit_friendly_is_flowedit() -> None:
    prior, x, noise = finite(), picture(1, 4, 4, seed=9), draws(9)
    one = EditFriendly(eta=0, **STEPS, **GUIDANCE)(prior, request(x, Tape(noise[::-1])))
    other = FlowEdit(**STEPS, **GUIDANCE)(prior, request(x, Tape(noise)))
    torch.testing.assert_close(one.latent, other.latent)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_on_a_flow_flowedit_is_euler_on_the_difference_of_velocities(strength: float) -> None:
    """z <- z + (s - t) (v(z + x_t - x, target) - v(x_t, source)), from pure noise too, where alpha = 0."""
    schedule = Schedule.flow()
    prior, x, n = finite(schedule), picture(1, 4, 4, seed=9), round(12 * strength)
    source, target = (prior.embed([prompt]) for prompt in ("red", "blue"))
    noise, z = Noise(6), x
    for t, s in schedule.grid(12)[12 - n :]:
        now = schedule.time(t, 1)
        x_t = schedule.mix(x, noise.like(x), now)
        toward, away = prior.predict(z + x_t - x, now, target), prior.predict(x_t, now, source)
        z = z + (s - t) / schedule.T * ((toward.eps - toward.x0) - (away.eps - away.x0))
    method = FlowEdit(steps=12, strength=strength, guidance=1, source_guidance=1)
    torch.testing.assert_close(method(prior, request(x, Noise(6))).latent, z)


def test_flowedit_stops_by_itself() -> None:
    """On N(mu, s^2) it ends at w (mu_t - mu_s) (1 - s / sqrt(s^2 + sigma~_start^2)); Euler, of order 1."""
    s, w, x, errors = 0.5, 2.0, picture(), []
    for steps in (100, 200):
        prior = gaussian(Schedule.flow(), s)
        method = FlowEdit(steps=steps, strength=0.8, guidance=w, source_guidance=w)
        end = method(prior, EditRequest(image=x, source="cat", target="tiger")).latent
        alpha, sigma = prior.schedule.at(800.0)
        covered = 1 - s / (s**2 + (sigma / alpha) ** 2).sqrt()
        errors.append(float((end - x - w * (mean("tiger") - mean("cat")) * covered).abs().max()))
    assert errors[0] < 0.05
    assert 1.8 < errors[0] / errors[1] < 2.2


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_edit_friendly_with_the_sources_own_prompt_returns_the_picture(eta: float) -> None:
    x = picture(2, 4, 4, seed=9)
    method = EditFriendly(eta=eta, guidance=3.0, source_guidance=3.0, **STEPS)
    back = method(finite(), EditRequest(image=x, source="red", target="red"))
    assert torch.allclose(back.latent, x, atol=1e-12)
    released = EditFriendly(compat="authors", guidance=3.0, source_guidance=3.0, **STEPS)
    assert not torch.allclose(
        released(finite(), EditRequest(image=x, source="red", target="red")).latent, x, atol=1e-3
    )


def test_flowedit_ends_in_plain_sampling_of_the_target() -> None:
    """With as many final steps as steps it is SDEdit: no step knows the source prompt."""
    prior, x = finite(), picture(1, 4, 4, seed=9)
    method = FlowEdit(n_min=9, **STEPS, **GUIDANCE)
    ends = [method(prior, EditRequest(image=x, source=s, target="blue")).latent for s in ("red", "green")]
    assert torch.equal(*ends)
    with pytest.raises(InputError, match="n_min: 10, but only 9 steps are taken"):
        FlowEdit(n_min=10, **STEPS)(prior, request(x, Noise(0)))


@pytest.mark.parametrize("Method", [FlowEdit, EditFriendly])
def test_a_prediction_that_is_not_finite_stops_the_edit(Method, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = finite()
    x0 = prior.x0
    monkeypatch.setattr(prior, "x0", lambda x_t, t, text: x0(x_t, t, text) / (int(t[0]) > 500))
    message = rf"{Method.__name__}: the gradient of step 3 of 9, at time 498, is not finite.*lower rate"
    with pytest.raises(InputError, match=message):
        Method(**STEPS)(prior, request(picture(1, 4, 4), Noise(0)))
