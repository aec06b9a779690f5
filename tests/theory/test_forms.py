"""Forms that move something other than the latent: they start where they should and keep the latent's pace."""

import pytest
import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.core.types import Latent
from scumble.forms.composite import Composite
from scumble.forms.field import NeuralField
from scumble.forms.pixels import EncodedPixels
from scumble.loops.descend import descend
from scumble.methods.dds import DDS
from scumble.priors.exact import GaussianPrior

from .common import MEANS, gaussian, mean, normal, picture


class Coded(GaussianPrior):
    """A codec that is linear: cells of 2 x 2 pixels, four times their mean colour."""

    def encode(self, image: Tensor, noise: object = None) -> Latent:
        return 4 * torch.nn.functional.avg_pool2d(image, 2)

    def decode(self, latent: Latent) -> Tensor:
        return torch.nn.functional.interpolate(latent / 4, scale_factor=2)


def request(image: Tensor, g, **more) -> EditRequest:
    given = {"parametrization": g}
    return EditRequest(image=image, source="cat", target="tiger", given=given, **more)


@pytest.mark.parametrize("b", [1, 2])
def test_pixels_move_as_the_latent_does(b: int) -> None:
    """The score between two Gaussians of one spread moves all of a cell's pixels alike."""
    prior, image = Coded(MEANS, 0.5), picture(b, 4, 6)
    method = DDS(steps=12, guidance=2.0)
    free = method(prior, EditRequest(image=image, source="cat", target="tiger"))
    edit = method(prior, request(image, EncodedPixels(prior, image)))
    torch.testing.assert_close(edit.latent, free.latent)
    torch.testing.assert_close(prior.encode(edit.raw), edit.latent)
    assert float((edit.raw - image).abs().max()) > 0.1
    assert float((prior.decode(edit.latent) - edit.raw).abs().max()) > 0.1  # no decoder touched it


def test_equal_prompts_leave_the_pixels_to_the_last_bits() -> None:
    prior, image = Coded(MEANS, 0.5), picture(1, 4, 6)
    same = EditRequest(
        image=image, source="cat", target="cat", given={"parametrization": EncodedPixels(prior, image)}
    )
    torch.testing.assert_close(DDS(steps=5)(prior, same).raw, image, atol=1e-15, rtol=0)


def smooth(height: int = 12, width: int = 16) -> Tensor:
    y = torch.linspace(-1, 1, height, dtype=torch.float64)[:, None]
    x = torch.linspace(-1, 1, width, dtype=torch.float64)
    return torch.stack([(2 * x + y).sin(), (x * y).cos() - 0.5, x.expand(height, -1) * 0.4])[None]


@pytest.mark.slow
def test_a_field_paints_its_picture_at_any_size() -> None:
    image, prior = smooth(), gaussian()
    g = NeuralField(prior, image, hidden=32, octaves=3, fit=600)
    theta = g.start(prior.encode(image))
    assert theta.shape == (1, 14 * 32 + 32 + 32 * 32 + 32 + 32 * 3 + 3)
    assert float((g.picture(theta) - image).abs().mean()) < 0.02
    large = g.picture(theta, (36, 48))
    assert large.shape == (1, 3, 36, 48)
    middles = large[..., 1::3, 1::3]  # the middles of the pixels of the small one
    torch.testing.assert_close(middles, g.picture(theta))
    again = NeuralField(prior, image, hidden=32, octaves=3, fit=600).start(prior.encode(image))
    assert torch.equal(theta, again)


@pytest.mark.slow
def test_a_field_is_edited() -> None:
    """It ends where DDS does, but for what the network cannot paint; each row has its own weights."""
    prior, image = gaussian(), smooth()
    g = NeuralField(prior, image, hidden=32, octaves=3, fit=600)
    method = DDS(steps=150, rate=3e-3, guidance=1.0, optimizer="adam")
    many = EditRequest(
        image=image,
        source="cat",
        target=["tiger", "cat"],
        given={"parametrization": g},
        keep=("theta",),
    )
    edit = method(prior, many)
    assert edit.kept["theta"].shape[0] == 2
    shift = mean("tiger") - mean("cat")
    assert float((edit.raw[:1] - image - shift).abs().mean()) < 0.05
    assert float((edit.raw[1:] - image).abs().mean()) < 0.03


def test_a_composite_starts_at_the_latents_pace() -> None:
    prior, x = gaussian(), picture()
    g = Composite(x)
    assert torch.equal(g(g.start(x)), x)
    z = x + 0.1 * normal(1, 3, 4, 6, seed=8)
    torch.testing.assert_close(g(g.start(z)), z)
    one = {"steps": 1, "guidance": 2.0}
    free = DDS(**one)(prior, EditRequest(image=x, source="cat", target="tiger"))
    torch.testing.assert_close(DDS(**one)(prior, request(x, g)).latent, free.latent)


def test_a_composite_opens_where_the_steps_agree() -> None:
    """A steady gradient on the left, one that only changes its sign on the right."""
    x, k = picture(1, 4, 6), 0

    def score(x: Tensor, t: Tensor, noise: object) -> Tensor:
        nonlocal k
        k += 1
        grad = torch.ones_like(x)
        grad[..., 3:] *= (-1) ** k
        return grad

    class Plan:
        def __len__(self) -> int:
            return 40

        def __call__(self, noise, rows):
            for _ in range(40):
                yield torch.full((rows,), 500), 0.1

    g = Composite(x)
    theta = descend(score, x, Plan(), Noise(0), g=g)
    opacity = g.opacity(theta)
    assert opacity.shape == (1, 1, 4, 6)
    assert float(opacity[..., :3].min()) > 0.9
    assert float(opacity[..., 3:].max()) < 0.25


@pytest.mark.parametrize("form", [EncodedPixels, NeuralField])
def test_a_mask_keeps_the_outside_of_a_painted_picture(form) -> None:
    prior, image = gaussian(), smooth()
    mask = torch.zeros(1, 1, 12, 16)
    mask[..., 4:9, 3:11] = 1
    g = (
        form(prior, image)
        if form is EncodedPixels
        else NeuralField(prior, image, hidden=16, octaves=2, fit=20)
    )
    edit = DDS(steps=3)(prior, request(image, g, mask=mask))
    outside = (mask == 0).expand_as(image)
    assert torch.equal(edit.image[outside], image[outside])
