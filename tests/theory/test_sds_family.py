"""NFSD and SBP: what they change about SDS."""

from typing import Any

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import Card
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.methods.nfsd import NFSD
from scumble.methods.sbp import SBP
from scumble.methods.sds import SDS
from scumble.priors.exact import GaussianPrior
from scumble.scores.nfsd import NFSDScore
from scumble.scores.sbp import SBPScore
from scumble.scores.sds import SDSScore

from .common import MEANS, gaussian, mean, picture

PRIOR = GaussianPrior({**MEANS, "blur": (0.2, 0.2, 0.2), "tiger, sharp": 0.5, "tiger, blurry": -0.5}, 0.5)


def text(prompt: str):
    return PRIOR.embed([prompt])


def gap(t: int, one: str, other: str) -> torch.Tensor:
    """eps(x_t, one) - eps(x_t, other) on Gaussians of one covariance: the same for every x_t."""
    alpha, sigma = PRIOR.schedule.at(t)
    means = [torch.as_tensor(PRIOR._means[p]).T[None, ..., None] for p in (one, other)]
    return (means[1] - means[0]) * alpha * sigma / (0.25 * alpha**2 + sigma**2)


def nfsd(**settings):
    texts = {"target": text("tiger"), "null": text(""), "bad": text("blur")}
    return NFSDScore(PRIOR, guidance=7.5, **texts, **settings)


def test_above_its_clean_times_nfsd_has_no_noise() -> None:
    """w (eps(target) - eps(null)) + eps(null) - eps(bad), whatever was drawn."""
    z, t = picture(seed=3), 400
    expected = 7.5 * gap(t, "tiger", "") + gap(t, "", "blur")
    for seed in range(3):
        grad = nfsd()(z, torch.tensor([t]), Noise(seed))
        torch.testing.assert_close(grad, expected.expand_as(z))


def test_below_them_it_is_sds_and_the_noise_again() -> None:
    """With w = 1 and every time clean, NFSD is SDS plus the noise that SDS takes off."""
    z, t = picture(seed=3), torch.tensor([150])
    ours = NFSDScore(PRIOR, target=text("tiger"), null=text(""), bad=text("blur"), guidance=1.0)(
        z, t, Noise(5)
    )
    sds = SDSScore(PRIOR, target=text("tiger"), null=text(""), guidance=1.0)(z, t, Noise(5))
    torch.testing.assert_close(ours, sds + Noise(5).like(z))
    late = nfsd(t_clean=100)(z, t, Noise(5))
    torch.testing.assert_close(late, (7.5 * gap(150, "tiger", "") + gap(150, "", "blur")).expand_as(z))


def test_each_row_has_its_own_side_of_the_threshold() -> None:
    z, t = picture(2, seed=3), torch.tensor([150, 400])
    both = nfsd()
    texts = {"target": "tiger", "null": "", "bad": "blur"}
    rows = {name: PRIOR.embed([prompt] * 2) for name, prompt in texts.items()}
    together = NFSDScore(PRIOR, guidance=7.5, **rows)(z, t, Noise(5, 2))
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], both(z[i : i + 1], t[i : i + 1], Noise(5 + i)))


def sbp(after: int) -> SBPScore:
    texts = {"target": text("tiger"), "null": text("")}
    return SBPScore(
        PRIOR, good=text("tiger, sharp"), bad=text("tiger, blurry"), guidance=40.0, after=after, **texts
    )


def test_the_bridge_begins_as_sds_and_then_has_no_noise() -> None:
    z, t, score = picture(seed=3), torch.tensor([400]), sbp(after=2)
    sds = SDSScore(PRIOR, target=text("tiger"), null=text(""), guidance=40.0)
    for seed in range(2):
        torch.testing.assert_close(score(z, t, Noise(seed)), sds(z, t, Noise(seed)))
    for seed in range(2):
        expected = 40.0 * gap(400, "tiger, sharp", "tiger, blurry")
        torch.testing.assert_close(score(z, t, Noise(seed)), expected.expand_as(z))


def test_the_first_stage_alone_is_sds_with_its_defaults() -> None:
    x, shared = picture(), {"steps": 7, "rate": 0.01, "t_low": 20, "t_high": 980, "optimizer": "adam"}
    request = EditRequest(image=x, target="tiger", seed=3)
    sds = SDS(guidance=40.0, sigma_exp=2.0, **shared)(PRIOR, request)
    ours = SBP(steps=7, first=1.0, good=", sharp", bad=", blurry")(PRIOR, request)
    assert torch.equal(ours.latent, sds.latent)


def test_the_second_stage_moves_from_the_bad_towards_the_good() -> None:
    x = mean("tiger").expand(1, 3, 4, 6)
    method = SBP(steps=20, first=0.0, good=", sharp", bad=", blurry")
    moved = method(PRIOR, EditRequest(image=x, target="tiger")).latent - x
    assert float(moved.min()) > 0.1


@pytest.mark.parametrize("method", [NFSD(), SBP()])
def test_words_that_the_model_does_not_know_are_refused(method, monkeypatch: pytest.MonkeyPatch) -> None:
    words = frozenset({"a", "tiger"})
    card = Card(id="few", hash="", domain="Few words.", words=words, size=8, multiple=1)
    monkeypatch.setattr(PRIOR, "card", card)
    message = r"(bad|good): model 'few' does not know '\w+'.*set (bad|good) to words that it knows"
    with pytest.raises(InputError, match=message):
        method(PRIOR, EditRequest(image=picture(), target="tiger"))


def test_on_a_flow_its_clean_times_are_those_of_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = dict[str, Any]()

    def spied(*args: Any, **values: Any) -> NFSDScore:
        seen.update(values)
        return NFSDScore(*args, **values)

    monkeypatch.setattr("scumble.methods.nfsd.NFSDScore", spied)
    for schedule, t in ((Schedule.scaled_linear(), 200), (Schedule.flow(), 364)):
        NFSD(steps=1, bad="")(gaussian(schedule), EditRequest(image=picture(), target="cat"))
        assert seen["t_clean"] == t
