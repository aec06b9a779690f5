"""Sampling lands on what a Gaussian prior says of its prompts, alone and together."""

from dataclasses import replace

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.prior import Guidance
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.methods.dds import DDS
from scumble.methods.sampling import Sampling
from scumble.methods.sdedit import SDEdit
from scumble.priors.exact import GaussianPrior

from .common import MEANS, gaussian, mean, picture

SIZE = (4, 6)


def request(target: str, *also: tuple[str, float], negative: str = "") -> EditRequest:
    return EditRequest(size=SIZE, target=target, also=also, negative=negative, seed=3)


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_guided_samples_are_shifted_by_what_the_prompts_differ(sampler: str) -> None:
    """From the same noise: all predictions are affine in x_t with one slope, so the ends differ by a constant."""
    prior = gaussian()
    one, guided = (
        Sampling(sampler=sampler, guidance=w, steps=40)(prior, request("tiger")).latent for w in (1.0, 4.0)
    )
    apart = guided - one
    torch.testing.assert_close(apart, apart.mean((2, 3), keepdim=True).expand_as(apart))
    direction = (mean("tiger") - mean("")).flatten()
    assert bool((apart[0, :, 0, 0].sign() == direction.sign()).all())


def test_two_prompts_lead_as_far_as_their_sum() -> None:
    """null + w (cat - null) + w v (tiger - null): the shift of two prompts is the sum of their shifts."""
    prior, method = gaussian(), Sampling(guidance=2.0, steps=20)
    null, cat, tiger = (method(prior, request(prompt)).latent for prompt in ("", "cat", "tiger"))
    both = method(prior, request("cat", ("tiger", 0.5))).latent
    torch.testing.assert_close(both - null, cat - null + 0.5 * (tiger - null))


def test_a_negative_weight_leads_away() -> None:
    prior, method = gaussian(), Sampling(guidance=2.0, steps=20)
    null, cat, tiger = (method(prior, request(prompt)).latent for prompt in ("", "cat", "tiger"))
    away = method(prior, request("cat", ("tiger", -1.0))).latent
    torch.testing.assert_close(away - null, cat - tiger)


def test_the_second_order_solver_is_nearer_to_the_limit() -> None:
    prior = gaussian(Schedule.flow())
    limit = Sampling(steps=1000, guidance=3.0)(prior, request("tiger")).latent
    ends = [
        Sampling(sampler="dpm", order=order, steps=10, guidance=3.0)(prior, request("tiger")).latent
        for order in (1, 2)
    ]
    first, second = (float((end - limit).abs().mean()) for end in ends)
    assert second < first / 5


def test_several_prompts_cost_a_row_each_and_outside_the_interval_one_less() -> None:
    prior = gaussian()
    assert Sampling(steps=10)(prior, request("cat")).evaluations == 20
    assert Sampling(steps=10)(prior, request("cat", ("tiger", 1.0))).evaluations == 30
    some = Sampling(steps=10, guidance_low=0.35, guidance_high=0.75)(prior, request("cat"))
    assert some.evaluations == 10 + 4  # of the times 1, 101, ... 901 (leading): 401 to 701


def test_sdedit_follows_several_prompts_and_dds_says_that_it_does_not() -> None:
    prior, image = gaussian(), picture()
    asked = EditRequest(image=image, target="cat", also=(("tiger", 1.0),))
    one, both = (SDEdit(steps=20)(prior, each).latent for each in (replace(asked, also=()), asked))
    assert not torch.equal(one, both)
    with pytest.raises(InputError, match="also: DDS follows one target prompt"):
        DDS(steps=2)(prior, replace(asked, source="cat"))


@pytest.mark.parametrize("kind", ["embedded", "none"])
@pytest.mark.parametrize("what", ["several prompts", "rescale"])
def test_a_model_without_a_null_row_takes_one_prompt(kind: Guidance, what: str) -> None:
    prior = GaussianPrior(MEANS, 0.5)
    prior.card = replace(prior.card, guidance=kind)
    also = (("tiger", 1.0),) if what == "several prompts" else ()
    method = Sampling(guidance=3.0, rescale=0.7 if what == "rescale" else 0.0)
    with pytest.raises(InputError, match=f"{what}: model 'gaussian' is not guided by the difference"):
        method(prior, request("cat", *also))
