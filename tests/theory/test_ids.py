"""IDS: where the source's prediction points back at the source, and what follows from it."""

from pathlib import Path

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.methods.cds import CDS
from scumble.methods.dds import DDS
from scumble.methods.ids import IDS
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.scores.dds import DDSScore
from scumble.scores.ids import IDSScore
from tests.conformance import tiny

from .common import finite, gaussian, mean, normal, picture

FIXED_POINTS = ["gradient", "forward"]


def sides(prior, x, source="red", target="blue"):
    texts = {"source": prior.embed([source]), "target": prior.embed([target]), "null": prior.embed([""])}
    return {"reference": x, "guidance": 1.0, **texts}


@pytest.mark.parametrize(("forward", "atol"), [(True, 1e-6), (False, 0.02)])
def test_the_source_ends_up_predicting_itself(forward: bool, atol: float) -> None:
    """On N(mu, s^2) the fixed point is known. By gradient it is circled at a step's length."""
    prior, x, t = gaussian(), picture(), torch.tensor([300])
    alpha, sigma = prior.schedule.at(t)
    score = IDSScore(prior, forward=forward, rate=0.02, **sides(prior, x, "cat", "tiger"))
    x_t = prior.schedule.mix(x, Noise(3).like(x), t)
    for _ in range(300):
        x_t = score._drawn(x_t, t)
    known = alpha * mean("cat") + (x - mean("cat")) * (0.25 * alpha**2 + sigma**2) / (0.25 * alpha)
    torch.testing.assert_close(x_t, known.expand_as(x_t), atol=atol, rtol=0)
    torch.testing.assert_close(score.branches.of_source(x_t, t).x0, x, atol=atol, rtol=0)


@pytest.mark.parametrize("fixed_point", FIXED_POINTS)
@pytest.mark.parametrize("w", [1.0, 3.0])
def test_it_ends_where_dds_does_on_gaussians(w: float, fixed_point: str) -> None:
    x, settings = picture(), {"steps": 120, "rate": 1.0, "guidance": w}
    edit = IDS(fixed_point=fixed_point, **settings)(
        gaussian(), EditRequest(image=x, source="cat", target="tiger")
    )
    torch.testing.assert_close(edit.latent, x + w * (mean("tiger") - mean("cat")), atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", [DDS, *(lambda f=f, **s: IDS(fixed_point=f, **s) for f in FIXED_POINTS)])
def test_there_and_back_again(method) -> None:
    """Edit, then edit back: on Gaussians of equal covariance the source returns."""
    prior, x, run = gaussian(), picture(), method(steps=120, rate=1.0, guidance=3.0)
    there = run(prior, EditRequest(image=x, source="cat", target="tiger", seed=1)).latent
    back = run(prior, EditRequest(image=there, source="tiger", target="cat", seed=2)).latent
    assert float((there - x).abs().max()) > 1
    torch.testing.assert_close(back, x, atol=1e-9, rtol=0)


def test_without_corrections_it_is_dds() -> None:
    prior, x, z, t = finite(), picture(1, 4, 4, seed=9), picture(1, 4, 4, seed=5), torch.tensor([500])
    ours = IDSScore(prior, repeats=0, **sides(prior, x))(z, t, Noise(1))
    torch.testing.assert_close(ours, DDSScore(prior, **sides(prior, x))(z, t, Noise(1)))


@pytest.mark.parametrize("fixed_point", FIXED_POINTS)
def test_equal_prompts_and_tiles(fixed_point: str) -> None:
    """Equal prompts are exactly zero; a 2x2 tiling is edited tile by tile, the inner rate being per element."""
    x = picture(2, 4, 4, seed=9)
    method = IDS(steps=6, fixed_point=fixed_point)
    assert torch.equal(method(finite(), EditRequest(image=x, source="red", target="red")).latent, x)

    prior, small, t = gaussian(), picture(), torch.tensor([600])
    x_t = prior.schedule.mix(small, Noise(3).like(small), t)
    forward = fixed_point == "forward"
    one, four = (
        IDSScore(prior, forward=forward, **sides(prior, z, "cat", "tiger"))._drawn(z_t, t)
        for z, z_t in ((small, x_t), (small.tile(1, 1, 2, 2), x_t.tile(1, 1, 2, 2)))
    )
    torch.testing.assert_close(four, one.tile(1, 1, 2, 2))


def test_the_forward_variant_needs_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, request = finite(), EditRequest(image=picture(1, 4, 4, seed=9), source="red", target="blue")
    monkeypatch.setattr(torch.autograd, "grad", None)
    edit = IDS(steps=3, fixed_point="forward")(prior, request)
    assert edit.evaluations == 3 * (2 * 3 + 4)
    with pytest.raises(TypeError):
        IDS(steps=3)(prior, request)


@pytest.mark.slow
def test_with_the_contrastive_term_it_is_cds_under_the_corrected_noise(tmp_path: Path) -> None:
    prior = StableDiffusionPrior.from_pretrained(tiny.save(tmp_path / "tiny"), device="cpu", dtype="float32")
    request = EditRequest(image=normal(1, 3, 16, 16).float() / 3, source="a cat", target="a tiger")
    looks = {"contrast": 60.0, "patches": 5, "patch_sizes": "1,2", "temperature": 0.2}
    edits = {
        "cds": CDS(steps=2, **looks),
        "uncorrected": IDS(steps=2, inner_steps=0, **looks),
        "corrected": IDS(steps=2, inner_steps=2, **looks),
        "without": IDS(steps=2, inner_steps=2),
    }
    latents = {name: method(prior, request).latent for name, method in edits.items()}
    torch.testing.assert_close(latents["uncorrected"], latents["cds"], atol=1e-4, rtol=0)
    assert float((latents["corrected"] - latents["cds"]).abs().max()) > 1e-3
    assert float((latents["corrected"] - latents["without"]).abs().max()) > 1e-3


def test_the_contrastive_term_needs_attention() -> None:
    request = EditRequest(image=picture(1, 4, 4), source="red", target="blue")
    with pytest.raises(InputError, match="contrast: it needs a model with control.*leave it at 0"):
        IDS(steps=1, contrast=1.0)(finite(), request)
