"""SDEdit where its result is known."""

import pytest
import torch

from scumble.core.request import EditRequest
from scumble.methods.sdedit import SDEdit

from .common import gaussian, mean, picture


@pytest.mark.parametrize("compat", ["", "authors", "img2img"])
def test_strength_zero_returns_the_input(compat: str) -> None:
    x = picture(2)
    edit = SDEdit(strength=0, compat=compat)(gaussian(), EditRequest(image=x, target="tiger"))
    assert torch.equal(edit.latent, x)
    assert edit.evaluations == 0


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_all_keep_mask_returns_the_input(eta: float) -> None:
    x = picture()
    request = EditRequest(image=x, target="tiger", mask=torch.zeros(1, 1, 4, 6))
    edit = SDEdit(strength=0.6, steps=20, eta=eta, repeats=2)(gaussian(), request)
    torch.testing.assert_close(edit.latent, x, atol=1e-14, rtol=0)


def test_an_open_mask_changes_nothing() -> None:
    x = picture()
    method = SDEdit(strength=0.6, steps=20)
    request = EditRequest(image=x, target="tiger", seed=2)
    masked = EditRequest(image=x, target="tiger", seed=2, mask=torch.ones(1, 1, 4, 6))
    torch.testing.assert_close(method(gaussian(), masked).latent, method(gaussian(), request).latent)


def test_the_kept_region_ends_clean_but_for_the_authors() -> None:
    x, mask = picture(), torch.zeros(1, 1, 4, 6)
    mask[..., 2:] = 1
    kept = (mask == 0).expand_as(x)
    request = EditRequest(image=x, target="tiger", mask=mask)
    ours, theirs = (
        SDEdit(strength=0.05, compat=compat)(gaussian(), request).latent for compat in ("", "authors")
    )
    torch.testing.assert_close(ours[kept], x[kept], atol=1e-14, rtol=0)
    left = (theirs - x)[kept]  # sigma_0 of the schedule, 0.03
    assert 0.01 < float(left.std()) < 0.06


def test_from_pure_noise_it_samples_the_target() -> None:
    x = picture(1, 40, 40)
    method = SDEdit(strength=1, steps=200, guidance=1)
    edit = method(gaussian(std=0.3), EditRequest(image=x, target="tiger"))
    torch.testing.assert_close(edit.latent.mean((2, 3)), mean("tiger")[..., 0, 0], atol=0.03, rtol=0)
    assert float((edit.latent - mean("tiger")).std()) == pytest.approx(0.3, rel=0.1)


def test_strength_trades_the_input_for_the_target() -> None:
    x, reports = picture(1, 8, 8), []
    request = EditRequest(image=x, target="tiger")
    away = [
        float(
            (SDEdit(strength=s, steps=50, guidance=1)(gaussian(), request, reports.append).latent - x).norm()
        )
        for s in (0.1, 0.5, 0.9)
    ]
    assert away[0] < away[1] < away[2]
    assert [(step.k, step.n) for step in reports[:5]] == [(k, 5) for k in range(1, 6)]
