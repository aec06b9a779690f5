"""Weights change inside a context, and are the same bits again outside it."""

from pathlib import Path

import pytest
import torch

from scumble.core.errors import InputError
from scumble.priors.exact import GaussianPrior
from scumble.priors.pixel import PixelPrior
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.testing import no_trace
from scumble.tuning.weights import changed, copied

from .test_attention import Control

TINY_DDPM = Path(__file__).parents[1] / "goldens/tiny-ddpm"


@pytest.fixture(scope="module")
def pixel() -> PixelPrior:
    return PixelPrior.from_pretrained(TINY_DDPM)


def eps(prior: PixelPrior) -> torch.Tensor:
    x = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        return prior.predict(x, torch.tensor([300]), prior.embed([""])).eps


def test_weights_are_others_inside_and_the_same_bits_outside(pixel: PixelPrior) -> None:
    plain, values = eps(pixel), {name: 1.1 * w for name, w in copied(pixel).items()}
    with no_trace(pixel):
        with changed(pixel, values):
            assert not torch.equal(eps(pixel), plain)
            with changed(pixel, copied(pixel)):  # nested: what is inside now
                assert not torch.equal(eps(pixel), plain)
        assert torch.equal(eps(pixel), plain)


def test_an_exception_restores_weights_that_were_trained(pixel: PixelPrior) -> None:
    values = copied(pixel)
    name = next(iter(values))
    with no_trace(pixel), pytest.raises(KeyboardInterrupt), changed(pixel, values, trained=True) as weights:
        assert weights[name].requires_grad
        with torch.no_grad():
            weights[name].add_(1)
        raise KeyboardInterrupt
    assert torch.equal(values[name], pixel.parameters()[name] + 1)  # what was trained is kept


def test_an_exact_prior_is_tuned_through_its_means() -> None:
    prior = GaussianPrior({"": 0.0})
    x, t = torch.zeros(1, 3, 2, 2, dtype=torch.float64), torch.tensor([500])
    with changed(prior, {"mean[]": torch.ones(1, 3)}):
        assert float(prior.predict(x, t, prior.embed([""])).x0.mean()) > 0.5
    assert float(prior.predict(x, t, prior.embed([""])).x0.abs().max()) == 0


def test_weights_of_another_network_are_refused(pixel: PixelPrior) -> None:
    with pytest.raises(InputError, match="has no weight 'up'"), changed(pixel, {"up": torch.zeros(1)}):
        pass
    name = next(iter(copied(pixel)))
    with pytest.raises(InputError, match="is of shape"), changed(pixel, {name: torch.zeros(1)}):
        pass


def test_offloaded_weights_are_refused(folder: Path) -> None:
    from scumble.priors.load import load_prior

    prior = load_prior(str(folder), device="cpu", memory=("offload",))
    assert isinstance(prior, StableDiffusionPrior)
    with (
        pytest.raises(InputError, match="are quantised or offloaded"),
        changed(prior, copied(prior, "denoiser")),
    ):
        pass


def test_the_bottleneck_of_a_pixel_model_is_reached(pixel: PixelPrior) -> None:
    plain, control = eps(pixel), Control("mid", change=lambda h: h + 1)
    with no_trace(pixel):
        with pixel.control(control):
            assert not torch.equal(eps(pixel), plain)
        assert torch.equal(eps(pixel), plain)
    ((site, shape, now),) = control.seen
    assert (site.kind, site.stride, shape, now.latent) == ("mid", 4, (1, 32, 8, 8), (32, 32))


def test_a_pixel_model_takes_pictures_to_its_device() -> None:
    """Pictures come on the CPU, wherever the network is."""
    here = PixelPrior.from_pretrained(TINY_DDPM)
    there = PixelPrior(here.network, here.schedule, here.card, device="meta")
    assert there.encode(torch.zeros(1, 3, 16, 16)).device.type == "meta"
    assert there.embed([""]).tokens.device.type == "meta"
