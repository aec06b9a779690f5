"""The descent: how gradients become steps, and what it refuses."""

import math

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.loops.descend import Descending, EditFriendly, Uniform, descend
from scumble.loops.optimizers import OPTIMIZERS, SGD, Adam
from scumble.methods.dds import DDS
from scumble.methods.sds import SDS

from .common import gaussian, normal, picture


def bowl(x, t, noise):
    """The gradient of sum_i c_i x_i^2 / 2: steep in one direction, flat in the other."""
    return torch.linspace(0.1, 2, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:]) * x


def path(optimizer, rate, steps=12, b=2):
    x, states = normal(b, 3, 4, 6), []
    plan = Uniform(steps, 50, 949, rate)
    descend(bowl, x, plan, Noise(0, b), optimizer=optimizer, on_step=lambda *step: states.append(step[3]))
    return x, states


@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        (SGD(), torch.optim.SGD, {}),
        (SGD(0.9), torch.optim.SGD, {"momentum": 0.9}),
        (Adam(), torch.optim.Adam, {"betas": (0.9, 0.99), "eps": 1e-15}),
        (Adam(0.8, 0.999, 1e-8), torch.optim.Adam, {"betas": (0.8, 0.999), "eps": 1e-8}),
    ],
)
def test_the_rules_are_those_of_torch(ours, theirs, settings) -> None:
    x, states = path(ours, 0.1)
    leaf = x.clone().requires_grad_()
    optimizer = theirs([leaf], lr=0.1, **settings)
    for state in states:
        leaf.grad = bowl(leaf.detach(), None, None)
        optimizer.step()
        torch.testing.assert_close(state, leaf.detach())


def test_sign_and_normalized_steps_have_one_length() -> None:
    x, states = path(OPTIMIZERS["sign"], 0.25, steps=1)
    torch.testing.assert_close((states[0] - x).abs(), torch.full_like(x, 0.25))
    x, states = path(OPTIMIZERS["normalized"], 0.25, steps=1)
    rms = (states[0] - x).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, 0.25))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_zero_moves_nothing(name: str) -> None:
    request = EditRequest(image=picture(2), source="cat", target="cat")
    assert torch.equal(DDS(steps=4, optimizer=name)(gaussian(), request).latent, request.image)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_call_keeps_no_state_for_the_next(name: str) -> None:
    method, request = DDS(steps=4, optimizer=name), EditRequest(image=picture(), source="cat", target="tiger")
    first, second = (method(gaussian(), request).latent for _ in range(2))
    assert torch.equal(first, second)


def test_sds_from_noise_forgets_the_picture() -> None:
    method = SDS(steps=4, start="noise")
    ends = [method(gaussian(), EditRequest(image=picture(seed=s), target="cat")).latent for s in (1, 2)]
    assert torch.equal(*ends)


class Plan:
    """A plan of a user's own: fixed times and rates."""

    def __init__(self, *moves: tuple[int, float]):
        self.moves = moves

    def __len__(self) -> int:
        return len(self.moves)

    def __call__(self, noise, rows):
        for t, rate in self.moves:
            yield torch.full((rows,), t), rate


def follow(plan, score=bowl):
    return descend(score, picture(), plan, Noise(0))


def test_a_plan_of_ones_own() -> None:
    x = picture()
    step = x - 0.5 * bowl(x, None, None)
    torch.testing.assert_close(follow(Plan((400, 0.5), (700, 0.25))), step - 0.25 * bowl(step, None, None))


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf])
def test_rates_that_lead_nowhere_are_refused(rate: float) -> None:
    with pytest.raises(InputError, match=r"rate of step 2 of 3, at time 300"):
        follow(Plan((400, 0.1), (300, rate), (200, 0.1)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_the_edit(value: float) -> None:
    def score(x, t, noise):
        return x * value if int(t[0]) == 300 else x

    seen = []
    with pytest.raises(
        InputError, match=r"^score: the gradient of step 2 of 3, at time 300, is not finite.*lower rate"
    ):
        descend(
            score,
            picture(),
            Plan((400, 0.1), (300, 0.1), (200, 0.1)),
            Noise(0),
            optimizer=OPTIMIZERS["sign"],  # it would hide an infinite gradient
            on_step=lambda *step: seen.append(step[0]),
        )
    assert seen == [1]


def test_a_run_away_picture_is_never_returned() -> None:
    request = EditRequest(image=picture().float(), source="cat", target="tiger")
    with pytest.raises(
        InputError, match=r"^DDS: the gradient of step \d+ of 200, at time \d+, is not finite"
    ):
        DDS(rate=1e4)(gaussian(std=0.1), request)


@pytest.mark.parametrize("Plan_", [Descending, EditFriendly])
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(300, 400)], "300 is followed by 400"),
        ([(400, 300), (300, 300)], "300 is followed by 300"),
        ([(400, 300), (500, 200)], "400 is followed by 500"),
        ([(1200, 300)], r"1200.*-1\.\.1000"),
        ([(400, 300), (300, -7)], r"-7.*-1\.\.1000"),
        ([(1000, 300)], "at time 1000 there is only noise"),
    ],
)
def test_descending_times_descend_within_the_schedule(Plan_, pairs, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan_(Schedule.linear(), pairs)


@pytest.mark.parametrize("schedule", [Schedule.linear(), Schedule.flow()], ids=["chain", "flow"])
def test_no_schedule_knows_times_outside(schedule: Schedule) -> None:
    for t in (-2, 1001, torch.tensor([3, 1700])):
        with pytest.raises(InputError, match=r"time: (-2|1001|1700); .*0*\.\.1000"):
            schedule.at(t)


def test_times_beyond_the_schedule_are_refused() -> None:
    request = EditRequest(image=picture(), source="cat", target="tiger")
    with pytest.raises(InputError, match="t_high: 949 is beyond this model's 50 times"):
        DDS(steps=2)(gaussian(Schedule.linear(50, 0.002, 0.3)), request)
