"""DDS and SDS where their gradients are known."""

import pytest
import torch

from scumble.core.noise import Noise, Tape
from scumble.core.request import EditRequest, pull
from scumble.core.schedule import Schedule
from scumble.loops.descend import Descending, Uniform, descend
from scumble.methods.dds import DDS
from scumble.methods.sds import SDS
from scumble.scores.dds import DDSScore
from scumble.scores.sds import SDSScore

from .common import finite, gaussian, mean, normal, picture


def dds_score(prior, x, source="cat", target="tiger", guidance=7.5, **settings):
    texts = {"source": source, "target": target, "null": ""}
    rows = {role: prior.embed([prompt] * len(x)) for role, prompt in texts.items()}
    return DDSScore(prior, reference=x, guidance=guidance, **rows, **settings)


@pytest.mark.parametrize("w", [1.0, 3.0, 7.5])
def test_dds_ends_at_the_shifted_mean(w: float) -> None:
    """The fixed point on Gaussians of equal covariance is x + w (mu_target - mu_source)."""
    x = picture()
    edit = DDS(steps=1500, rate=0.2, guidance=w)(
        gaussian(), EditRequest(image=x, source="cat", target="tiger")
    )
    torch.testing.assert_close(edit.latent, x + w * (mean("tiger") - mean("cat")), atol=1e-9, rtol=0)


def test_dds_of_equal_prompts_is_exactly_zero() -> None:
    for prior, prompt in ((gaussian(), "cat"), (finite(), "red")):
        x = picture(2, 4, 4)
        request = EditRequest(image=x, source=prompt, target=prompt)
        assert torch.equal(DDS(steps=20)(prior, request).latent, x)
        assert not torch.equal(SDS(steps=20)(prior, request).latent, x)


def test_sds_is_noisy_where_dds_is_not() -> None:
    prior, x, t = gaussian(), picture(), torch.tensor([400])
    z = x + mean("tiger") - mean("cat")  # any point off the reference
    dds = dds_score(prior, x)
    sds = SDSScore(prior, target=prior.embed(["tiger"]), null=prior.embed([""]), guidance=7.5)
    spread = {
        name: torch.stack([score(z, t, Noise(seed)) for seed in range(64)]).std(0).max()
        for name, score in {"dds": dds, "sds": sds}.items()
    }
    assert float(spread["dds"]) < 1e-13
    assert float(spread["sds"]) > 0.05


@pytest.mark.parametrize(("p", "q"), [(1.0, 0.0), (0.0, 2.0), (1.0, 2.0)])
def test_weights_are_powers_of_alpha_and_sigma(p: float, q: float) -> None:
    prior, x, t = gaussian(), picture(), torch.tensor([300])
    alpha, sigma = prior.schedule.at(t)
    z = normal(1, 3, 4, 6, seed=3)
    plain = dds_score(prior, x)(z, t, Noise(5))
    weighted = dds_score(prior, x, alpha_exp=p, sigma_exp=q)(z, t, Noise(5))
    torch.testing.assert_close(weighted, alpha**p * sigma**q * plain)


def test_a_tiled_picture_gets_the_tiled_edit() -> None:
    """Nothing depends on the resolution: a 2x2 tiling with tiled noise is edited tile by tile."""
    x, n = picture(), 12
    times = [torch.tensor([60 + 70 * k]) for k in range(n)]
    noise = [normal(1, 3, 4, 6, seed=k) for k in range(n)]

    def edit(Method, tile):
        draws = [draw for t, e in zip(times, noise, strict=True) for draw in (t, tile(e))]
        request = EditRequest(image=tile(x), source="cat", target="tiger", noise=Tape(draws))
        return Method(steps=n)(gaussian(), request).latent

    for Method in (DDS, SDS):
        tiled = edit(Method, lambda e: e.tile(1, 1, 2, 2))
        torch.testing.assert_close(tiled, edit(Method, lambda e: e).tile(1, 1, 2, 2))


@pytest.mark.parametrize("Method", [DDS, SDS])
def test_a_mask_keeps_its_outside_exactly(Method) -> None:
    x = picture()
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., 1:3, 2:5], mask[..., 0, 0] = 1, 0.5
    request = EditRequest(image=x, source="cat", target="tiger", mask=mask)
    free = EditRequest(image=x, source="cat", target="tiger")
    edit, unmasked = (Method(steps=1)(gaussian(), r) for r in (request, free))
    outside = (mask == 0).expand_as(x)
    assert torch.equal(edit.latent[outside], x[outside])
    assert torch.equal(edit.image[outside], x[outside])
    torch.testing.assert_close(edit.latent - x, mask * (unmasked.latent - x))


def test_k_targets_share_one_source_branch_and_its_noise() -> None:
    prior, x = gaussian(std=0.4), picture()
    together = DDS(steps=8)(prior, EditRequest(image=x, source="cat", target=["tiger", "", "cat"], seed=4))
    for k, target in enumerate(("tiger", "", "cat")):
        alone = DDS(steps=8)(prior, EditRequest(image=x, source="cat", target=target, seed=4))
        torch.testing.assert_close(together.latent[k : k + 1], alone.latent)
        assert alone.evaluations == 8 * 4
    assert together.evaluations == -(-8 * (2 + 6) // 3)


def test_a_descending_plan_stops_by_itself() -> None:
    """On N(mu, s^2) it ends at w (mu_t - mu_s) (1 - s / sqrt(s^2 + sigma~_start^2))."""
    schedule, s, w = Schedule.scaled_linear(), 0.5, 2.0
    prior, x = gaussian(schedule, s), picture()
    moves = schedule.grid(1000)[100:]
    score = dds_score(prior, x, guidance=w)
    end = descend(score, x, Descending(schedule, moves), Noise(0))
    alpha, sigma = schedule.at(moves[0][0])
    covered = 1 - s / (s**2 + (sigma / alpha) ** 2).sqrt()
    shift = w * (mean("tiger") - mean("cat")) * covered
    torch.testing.assert_close((end - x).mean((2, 3)), shift[..., 0, 0], atol=0.02, rtol=0.01)


def test_flowedit_is_a_descending_dds() -> None:
    """FlowEdit's step z <- z + (s - t) (v(z + x_t - x, target) - v(x_t, source)) in its own frame."""
    schedule = Schedule.flow()
    prior, x = finite(schedule), picture(1, 4, 4)
    moves = schedule.grid(12)[3:]
    source, target, null = (prior.embed([prompt]) for prompt in ("red", "blue", ""))
    score = DDSScore(prior, reference=x, source=source, target=target, null=null, guidance=1)
    ours = descend(score, x, Descending(schedule, moves), Noise(6))

    noise, z = Noise(6), x
    for t, s in moves:
        now = schedule.time(t, 1)
        x_t = schedule.mix(x, noise.like(x), now)
        toward, away = prior.predict(z + x_t - x, now, target), prior.predict(x_t, now, source)
        delta = (toward.eps - toward.x0) - (away.eps - away.x0)
        z = z + (s - t) / schedule.T * delta
    torch.testing.assert_close(ours, z)


class Doubled:
    """theta -> 2 theta: steps through it are 2^2 times as long."""

    def start(self, x):
        return x / 2

    def __call__(self, theta):
        return 2 * theta


def test_a_parametrization_pulls_the_gradient_back() -> None:
    prior, x = gaussian(), picture()
    plain, through = (
        descend(dds_score(prior, x), x, Uniform(5, 50, 949, rate), Noise(2), g=g)
        for g, rate in ((None, 0.08), (Doubled(), 0.02))
    )
    torch.testing.assert_close(2 * through, plain)
    request = EditRequest(image=x, source="cat", target="tiger", given={"parametrization": Doubled()})
    assert not DDS(steps=3)(prior, request).latent.requires_grad


def test_pull_is_the_scalar_of_a_gradient() -> None:
    x = picture().requires_grad_()
    grad = normal(1, 3, 4, 6)
    pull(3 * x, grad).backward()
    torch.testing.assert_close(x.grad, 3 * grad)
