"""Fast DDS: the guidance taken apart, the source asked once, and where a descent ends."""

import tracemalloc
from dataclasses import replace

import pytest
import torch

from scumble import artifacts
from scumble.artifacts.bank import SourceBank
from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.loops.descend import Descending, Repeated, descend
from scumble.methods.dds_fast import DDSFast
from scumble.priors.exact import GaussianPrior
from scumble.scores.dds import DDSScore
from scumble.scores.split import SplitScore, focused

from .common import CHAINS, SCHEDULES, finite, gaussian, mean, normal, picture

STD = 0.5


def scores(prior, z, n=1, source="cat", target="tiger", guidance=3.0, **split):
    """The split score and the guided one, on the same sides."""
    texts = {"source": prior.embed([source] * len(z)), "target": prior.embed([target] * n)}
    null = prior.embed([""] * n)
    both = DDSScore(prior, reference=z, null=null, guidance=guidance, **texts)
    return SplitScore(prior, reference=z, guidance=guidance, **texts, **split), both


def at(score, x, t=500, seed=3, b=1):
    return score(x, torch.full((len(x),), t), Noise(seed, b))


# The score


@pytest.mark.parametrize("name", SCHEDULES)
def test_on_gaussians_of_one_width_it_is_guided_dds(name: str) -> None:
    schedule, z = SCHEDULES[name], picture(2)
    x = z + 0.3 * normal(2, 3, 4, 6)
    ours, theirs = scores(gaussian(schedule), z, 2)
    t = schedule.T // 2
    torch.testing.assert_close(at(ours, x, t, b=2), at(theirs, x, t, b=2))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 7.5])
def test_at_the_source_the_null_cancels(guidance: float) -> None:
    z = picture(1, 4, 4)
    ours, theirs = scores(finite(), z, source="red", target="blue", guidance=guidance)
    torch.testing.assert_close(at(ours, z), at(theirs, z))


def test_at_unit_weights_it_is_unguided_dds() -> None:
    z = picture(1, 4, 4)
    x = z + 0.3 * normal(1, 3, 4, 4)
    ours, theirs = scores(finite(), z, source="red", target="blue", guidance=1.0)
    torch.testing.assert_close(at(ours, x), at(theirs, x))
    ours, theirs = scores(finite(), z, source="red", target="blue", guidance=3.0)
    assert not torch.allclose(at(ours, x), at(theirs, x))  # guided, they part


def test_equal_prompts_leave_what_the_pictures_differ_by() -> None:
    z = picture(1, 4, 4)
    x = z + 0.3 * normal(1, 3, 4, 4)
    many, few = (
        scores(finite(), z, source="red", target="red", guidance=w, cross_trajectory=v)[0]
        for w, v in ((9.0, 2.0), (1.0, 1.0))
    )
    torch.testing.assert_close(at(many, z), torch.zeros_like(z))
    torch.testing.assert_close(at(many, x), 2 * at(few, x))


@pytest.mark.parametrize("draws", [1, 2])
def test_a_draw_costs_three_evaluations_and_with_a_bank_two(draws: int) -> None:
    request = EditRequest(image=picture(), source="cat", target="tiger")
    asks = DDSFast(steps=5, n_avg=draws)
    assert asks(gaussian(), request).evaluations == 15 * draws
    given = replace(request, given={"bank": asks.prepare(gaussian(), request)})
    assert asks(gaussian(), given).evaluations == 10 * draws
    assert DDSFast().steps * DDSFast().n_avg * 3 == 72


def test_fading_asks_how_much_is_left() -> None:
    z = picture(2)
    x = z + torch.tensor([0.0, 0.75]).reshape(2, 1, 1, 1) * (mean("tiger") - mean("cat"))  # of the way
    faded, plain = (
        scores(gaussian(), z, 2, guidance=w, cross_trajectory=v, fade=fade)[0]
        for w, v, fade in ((3.0, 1.5, True), (1.0, 1.0, False))
    )
    torch.testing.assert_close(at(faded, x, b=2), 3 * at(plain, x, b=2))


def test_an_edit_that_has_arrived_is_driven_no_further() -> None:
    red, _, blue = picture(6, 4, 4)[:3, None]  # of `finite`: a red dot, a red bar, a blue dot
    faded, steady = (
        at(scores(finite(), red, source="red dot", target="blue dot", fade=fade)[0], blue, t=200)
        for fade in (True, False)
    )
    assert faded.abs().max() < 1e-3 < 0.1 < steady.abs().max()


# Where it ends


@pytest.mark.parametrize("name", ["linear", "flow"])
@pytest.mark.parametrize(("guidance", "cross_trajectory"), [(3.0, 1.0), (3.0, 2.0), (1.0, 0.5)])
def test_a_descent_ends_where_its_weights_say(name: str, guidance: float, cross_trajectory: float) -> None:
    """d' = (w delta - v d) r / (s^2 + r^2) down from r: d = w / v delta (1 - (s^2 / (s^2 + r^2))^(v / 2))."""
    prior, z = gaussian(SCHEDULES[name], STD), picture()
    method = DDSFast(
        steps=200, strength=0.6, guidance=guidance, cross_trajectory=cross_trajectory, fade=False, focus=0.0
    )
    edit = method(prior, EditRequest(image=z, source="cat", target="tiger"))
    top = method.plan(prior.schedule).pairs[0][0]
    alpha, sigma = (float(c) for c in prior.schedule.at(top))
    left = (STD**2 / (STD**2 + (sigma / alpha) ** 2)) ** (cross_trajectory / 2)
    travelled = guidance / cross_trajectory * (1 - left) * (mean("tiger") - mean("cat"))
    torch.testing.assert_close(edit.latent - z, travelled.expand_as(z), rtol=0.02, atol=0.005)


@pytest.mark.parametrize("name", ["linear", "flow"])
@pytest.mark.parametrize("cross_trajectory", [1.0, 2.0])
def test_faded_guidance_only_sets_the_pace(name: str, cross_trajectory: float) -> None:
    """The law at v = w: whatever the second weight, no descent goes beyond the target."""
    prior, z = gaussian(SCHEDULES[name], STD), picture()
    method = DDSFast(steps=200, strength=0.6, guidance=3.0, cross_trajectory=cross_trajectory, focus=0.0)
    edit = method(prior, EditRequest(image=z, source="cat", target="tiger"))
    alpha, sigma = (float(c) for c in prior.schedule.at(method.plan(prior.schedule).pairs[0][0]))
    left = (STD**2 / (STD**2 + (sigma / alpha) ** 2)) ** (3.0 / 2)
    travelled = (1 - left) * (mean("tiger") - mean("cat"))
    torch.testing.assert_close(edit.latent - z, travelled.expand_as(z), rtol=0.02, atol=0.005)


def test_it_is_the_descent_along_its_score() -> None:
    prior, z = finite(), picture(1, 4, 4)
    method = DDSFast(steps=7, guidance=2.0, cross_trajectory=1.5, strength=0.7, focus=0.0, n_avg=1)
    score, _ = scores(prior, z, source="red", target="blue", guidance=2.0, cross_trajectory=1.5, fade=True)
    alone = descend(score, z, method.plan(prior.schedule), Noise(4))
    edit = method(prior, EditRequest(image=z, source="red", target="blue", seed=4))
    torch.testing.assert_close(edit.latent, alone)


def test_repeated_steps_add_up_to_one() -> None:
    schedule = Schedule.linear()
    plan = Descending(schedule, [(600, 300), (300, -1)])
    parts = [(int(t[0]), rate) for t, rate in Repeated(plan, 4)(Noise(0), 1)]
    assert [t for t, _ in parts] == [600] * 4 + [300] * 4
    assert sum(rate for _, rate in parts) == pytest.approx(plan.rate(600, -1))
    assert len(Repeated(plan, 4)) == 8


# Steering


def test_what_the_prompts_agree_on_stays() -> None:
    """Prompts that differ to the left move nothing to the right, where another noise lifts the source's own."""
    apart = torch.zeros(1, 3, 4, 12, dtype=torch.float64)
    apart[..., :4] = 1
    prior = GaussianPrior({"": 0 * apart[0], "cat": 0 * apart[0], "tiger": apart[0]}, STD)
    edit = DDSFast(steps=6)(prior, EditRequest(image=0.1 * apart, source="cat", target="tiger"))
    assert edit.mask.shape == (1, 1, 4, 12)
    assert torch.equal(edit.mask[..., :3], torch.ones(1, 1, 4, 3, dtype=torch.float64))
    assert float(edit.mask[..., 6:].max()) < 1e-9
    assert float((edit.latent - 0.1 * apart)[..., 6:].abs().max()) < 1e-9
    assert float((edit.latent - 0.1 * apart)[..., :3].min()) > 0.5


def test_focus_is_a_share_of_the_most_and_a_picture_at_a_time() -> None:
    disagreed = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]).reshape(2, 1, 1, 3)
    assert focused(disagreed, 1.0).flatten(1).tolist() == [[0.25, 0.5, 1.0], [0.0, 0.0, 0.0]]
    assert focused(disagreed, 0.5).flatten(1).tolist() == [[0.5, 1.0, 1.0], [0.0, 0.0, 0.0]]


def test_antithetic_draws_cancel_what_is_odd_in_the_noise() -> None:
    bank = DDSFast(steps=3, n_avg=4, antithetic=True).prepare(
        gaussian(), EditRequest(image=picture(2), source="cat")
    )
    assert torch.equal(bank.noise[:, 0::2], -bank.noise[:, 1::2])
    assert not torch.equal(bank.noise[:, 0], bank.noise[:, 2])


# The bank


def wide(**changes: object) -> EditRequest:
    return EditRequest(
        **{"image": picture(1, 4, 4), "source": "red", "target": "blue", "seed": 3, **changes}  # pyright: ignore[reportArgumentType]
    )


def test_an_edit_is_the_same_with_a_bank_from_a_file(tmp_path) -> None:
    method = DDSFast(steps=40, n_avg=2, antithetic=True)
    artifacts.save(method.prepare(finite(), wide()), tmp_path / "bank")
    bank = artifacts.load(tmp_path / "bank")
    assert artifacts.digest(bank) is not None
    for guidance, target in ((2.0, "blue"), (5.0, "green")):
        edit = replace(method, guidance=guidance)
        alone, shared = (edit(finite(), wide(target=target, given=given)) for given in ({}, {"bank": bank}))
        assert torch.equal(alone.latent, shared.latent)
        assert shared.evaluations == alone.evaluations - 80


def test_eight_targets_of_a_picture_ask_about_it_once() -> None:
    targets = ["blue", "green", "red dot", "blue dot", "blue bar", "green dot", "green bar", "red bar"]
    method, steps = DDSFast(), []
    together = method(finite(), wide(target=targets), steps.append)
    for k, target in enumerate(targets):
        torch.testing.assert_close(together.latent[k : k + 1], method(finite(), wide(target=target)).latent)
    draws = method.steps * method.n_avg
    assert together.evaluations == 2 * draws + draws // 8 <= 100
    assert steps[-1].evaluations == together.evaluations


def test_an_edit_keeps_its_bank_for_others() -> None:
    method = DDSFast(steps=6)
    bank = method(finite(), wide(keep=("bank",))).kept["bank"]
    made = method.prepare(finite(), wide(target=None))
    assert isinstance(bank, SourceBank)
    assert torch.equal(bank.eps, made.eps)
    assert torch.equal(bank.noise, made.noise)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ({"steps": 5}, {}, "made for 4 times from 799, but this edit takes 5 from 799"),
        ({"strength": 0.4}, {}, "made for 4 times from 799, but this edit takes 4 from 399"),
        ({"n_avg": 1}, {}, "made with 2 antithetic draws at a time, but this edit takes 1 draws"),
        ({}, {"seed": 4}, "made with seed 3, but this edit's is 4"),
        ({}, {"source": "green"}, "made with the source prompt 'red', but this edit's is 'green'"),
        ({}, {"image": picture(1, 4, 4, seed=8)}, "made of another picture"),
        ({}, {"image": picture(1, 6, 4)}, "made at 4 x 4 pixels, but this edit has 4 x 6"),
    ],
)
def test_a_bank_of_something_else_is_refused(method: dict, changes: dict, message: str) -> None:
    given = {"bank": DDSFast(steps=4, strength=0.8).prepare(finite(), wide())}
    with pytest.raises(InputError, match=f"^bank: {message}.*make the bank again"):
        DDSFast(**{"steps": 4, "strength": 0.8, **method})(finite(), wide(given=given, **changes))


def test_a_bank_of_another_model_or_none_at_all_is_refused() -> None:
    method = DDSFast(steps=4)
    bank = replace(method.prepare(finite(), wide()), prior_hash="0123456789")
    with pytest.raises(InputError, match=r"made with model 'finite' \(hash 01234567\)"):
        method(finite(), wide(given={"bank": bank}))
    with pytest.raises(InputError, match="bank: str is not a SourceBank; `DDSFast.prepare` makes one"):
        method(finite(), wide(given={"bank": "a file"}))
    with pytest.raises(InputError, match=r"bank: it has no entry for time 7; its times are"):
        bank.at(7)


@pytest.mark.parametrize("broken", ["eps", "seed", "times", "nan"])
def test_a_damaged_bank_is_refused(broken: str) -> None:
    bank = DDSFast(steps=4).prepare(finite(), wide())
    tensors, about = bank.tensors(), bank.about()
    if broken == "nan":
        tensors["eps"] = tensors["eps"] * torch.nan
    elif broken == "times":
        about["times"] = about["times"][1:]
    else:
        (tensors if broken == "eps" else about).pop(broken)
    with pytest.raises(
        InputError, match="^bank: it(s parts do not fit together| holds values that are not numbers)"
    ):
        SourceBank.restore(tensors, about)


# What it refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength: 0.0 must be greater than 0"),
        ({"strength": 1.1}, "strength: 1.1 must be at most 1"),
        ({"steps": 9, "repeats": 2}, "repeats: 9 steps are not a multiple of 2"),
        ({"focus": 1.5}, "focus: 1.5 must be at most 1"),
        ({"n_avg": 10**7 + 1}, "n_avg: the number is too large; give at most 10,000,000"),
        ({"guidance": 10**400}, "guidance: the number is too large"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DDSFast(**settings)


def test_a_negative_prompt_that_nobody_would_hear_is_refused() -> None:
    with pytest.raises(InputError, match="negative: dds_fast uses no null prompt"):
        DDSFast(steps=2)(
            gaussian(CHAINS["short"]),
            EditRequest(image=picture(), source="cat", target="tiger", negative="dog"),
        )


def test_more_levels_than_the_model_has_are_refused() -> None:
    with pytest.raises(InputError, match="steps: 40 levels, but there are only 25 below strength 0.5"):
        DDSFast(steps=40, strength=0.5)(
            gaussian(CHAINS["short"]), EditRequest(image=picture(), source="cat", target="tiger")
        )


def test_no_list_is_made_of_more_levels_than_there_are() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="steps: 1000000 levels, but there are only"):
            DDSFast(steps=10**6).plan(CHAINS["short"])
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("strength", [0.02, 0.5, 1.0])
def test_its_times_fall_from_strength_to_the_clean_level(name: str, strength: float) -> None:
    schedule = SCHEDULES[name]
    if name == "flow" and strength == 1:
        with pytest.raises(InputError, match="there is only noise"):
            DDSFast(strength=1).plan(schedule)
        return
    steps = min(40, int(schedule.T * strength))
    moves = DDSFast(strength=strength, steps=steps).plan(schedule).pairs
    assert len(moves) == steps
    assert moves[-1][1] == schedule.clean
    assert abs(moves[0][0] - strength * schedule.T) <= 1
