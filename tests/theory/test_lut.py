"""Recolouring through a table of colours: on a prior that is linear, its steps are the latent's own, projected."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from scumble.core.request import EditRequest
from scumble.forms.lut import LUT
from scumble.methods.dds import DDS
from scumble.methods.sds import SDS
from tests.theory.common import gaussian, mean, normal


def patches(height: int = 16, width: int = 24) -> Tensor:
    """Four patches of one colour each, (1, 3, H, W), inside [-1, 1]."""
    image = torch.empty(1, 3, height, width, dtype=torch.float64)
    colours = [(-0.6, 0.5, 0.1), (0.7, -0.4, -0.5), (0.0, 0.1, 0.6), (0.4, 0.4, -0.7)]
    parts = [image[..., : height // 2, : width // 2], image[..., height // 2 :, : width // 2]]
    parts += [image[..., : height // 2, width // 2 :], image[..., height // 2 :, width // 2 :]]
    for part, colour in zip(parts, colours, strict=True):
        part[:] = torch.tensor(colour, dtype=torch.float64).reshape(3, 1, 1)
    return image


def test_it_starts_at_the_picture_exactly() -> None:
    prior, image = gaussian(), patches() + 0.05 * normal(1, 3, 16, 24)
    g = LUT(prior, image)
    theta = g.start(prior.encode(image))
    assert theta.shape == (1, 3, 9**3)
    assert g(theta).equal(prior.encode(image))
    picture = Image.fromarray((np.arange(300 * 500 * 3) % 251).astype(np.uint8).reshape(300, 500, 3))
    assert g.recolour(theta, picture).tobytes() == picture.tobytes()


def stepped(g: LUT, grad: Tensor, rate: float) -> Tensor:
    """How far the picture moves in one step of `rate` along `grad`."""
    theta = g.start(grad).requires_grad_()
    x = g(theta)
    return g(theta - rate * torch.autograd.grad(x, theta, grad)[0]).detach() - x.detach()


def test_dds_moves_all_colours_as_far_as_the_latent() -> None:
    """The score between two Gaussians of one spread is the same everywhere, and a table can follow it."""
    prior, image = gaussian(), 0.5 * patches()
    request = EditRequest(image=image, source="cat", target="tiger")
    through = EditRequest(
        image=image,
        source="cat",
        target="tiger",
        given={"parametrization": LUT(prior, image)},
        keep=("theta",),
    )
    method = DDS(steps=20, guidance=0.3, t_high=600)
    free, bound = method(prior, request), method(prior, through)
    assert (free.raw - image).abs().max() > 0.1
    assert torch.allclose(bound.raw, free.raw, atol=1e-6)


def test_a_step_moves_a_colour_by_the_mean_step_of_its_pixels() -> None:
    image = patches()
    grad = normal(1, 3, 16, 24, seed=3)
    moved = stepped(LUT(gaussian(), image), grad, 0.1)
    for rows in (slice(0, 8), slice(8, 16)):
        for columns in (slice(0, 12), slice(12, 24)):
            part = (..., rows, columns)
            wanted = -0.1 * grad[part].mean((2, 3), keepdim=True)
            assert moved[part].std((2, 3)).max() < 1e-9
            assert torch.allclose(
                moved[part], wanted.expand_as(moved[part]), atol=0.15 * float(wanted.abs().max())
            )


def test_no_step_overshoots() -> None:
    """J J' has no eigenvalue above 1, whatever the picture: descent with a rate below 2 is stable."""
    image = (0.5 * normal(1, 3, 12, 20, seed=8)).clamp(-1, 1)
    g = LUT(gaussian(), image, n=5)
    direction = normal(1, 3, 12, 20, seed=4)
    for _ in range(30):
        direction = direction / direction.norm()
        direction = -stepped(g, direction, 1e-3) / 1e-3
    assert 0.5 < float(direction.norm()) <= 1 + 1e-3


def test_equal_colours_stay_equal_wherever_they_are() -> None:
    image = patches()
    g = LUT(gaussian(), image)
    theta = 0.3 * normal(1, 3, 27, 27).flatten(2)
    pixels = (np.random.default_rng(0).integers(0, 4, (300, 40, 1)) * [60, 40, 80]).astype(np.uint8)
    shuffled = np.random.default_rng(1).permutation(pixels.reshape(-1, 3)).reshape(pixels.shape)
    seen: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for array in (pixels, shuffled):
        new = np.asarray(g.recolour(theta, Image.fromarray(array)))
        for old_colour, new_colour in zip(array.reshape(-1, 3), new.reshape(-1, 3), strict=True):
            seen.setdefault(tuple(old_colour), set()).add(tuple(new_colour))
    assert len(seen) == 4
    assert all(len(colours) == 1 for colours in seen.values())
    assert any({colour} != colours for colour, colours in seen.items())


@pytest.mark.parametrize("method", [DDS(steps=2, guidance=0.5), SDS(steps=2, guidance=0.5)])
def test_the_table_comes_back_where_it_is_asked_for(method: DDS | SDS) -> None:
    prior, image = gaussian(), 0.5 * patches()
    g = LUT(prior, image)
    request = EditRequest(image=image, source="cat", target=["tiger", "cat"], given={"parametrization": g})
    assert "theta" not in method(prior, request).kept
    request = EditRequest(
        image=image, source="cat", target=["tiger", "cat"], given={"parametrization": g}, keep=("theta",)
    )
    edit = method(prior, request)
    theta = edit.kept["theta"]
    assert isinstance(theta, Tensor)
    assert theta.shape == (2, 3, 9**3)
    assert torch.allclose(g.apply(theta, image), edit.raw)


def test_a_large_picture_is_recoloured_as_the_small_one_is() -> None:
    prior, image = gaussian(), 0.5 * patches()
    g = LUT(prior, image)
    request = EditRequest(
        image=image, source="cat", target="tiger", given={"parametrization": g}, keep=("theta",)
    )
    edit = DDS(steps=5, guidance=0.3, t_high=600)(prior, request)
    theta = edit.kept["theta"]
    assert isinstance(theta, Tensor)
    pixels = ((image[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    large = Image.fromarray(pixels).resize((24 * 20, 16 * 20), Image.Resampling.NEAREST)
    new = np.asarray(g.recolour(theta, large).resize((24, 16), Image.Resampling.NEAREST)).astype(int)
    assert np.abs(new - ((edit.raw[0].permute(1, 2, 0) + 1) * 127.5).numpy()).max() <= 1.5
    assert np.abs(new - pixels).max() > 5
    shift = (mean("tiger") - mean("cat")).flatten()
    assert np.array_equal(np.sign((new - pixels).mean((0, 1))), shift.sign().numpy())
