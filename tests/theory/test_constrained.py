"""ILVR, RePaint and Blended Latent Diffusion where their results are known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.job import Job
from scumble.core.request import EditRequest, Method
from scumble.core.schedule import Schedule
from scumble.core.warp import Warp
from scumble.loops.lowpass import low_pass
from scumble.methods.blended_latent_diffusion import BlendedLatentDiffusion, widened
from scumble.methods.ilvr import ILVR
from scumble.methods.repaint import RePaint
from scumble.methods.sdedit import SDEdit

from .common import SCHEDULES, gaussian, mean, normal, picture

MASK = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
MASK[..., 3:] = 1
MASKED: dict[str, Method] = {
    "repaint": RePaint(steps=10, jump_length=2, jump_samples=3),
    "blended_latent_diffusion": BlendedLatentDiffusion(steps=10),
    "thin": BlendedLatentDiffusion(steps=3, dilations=2, eta=1),
    "sdedit": SDEdit(steps=20, strength=0.6, repeats=2),
    "ilvr": ILVR(steps=10, factor=2),
}


def asked(mask: Tensor | None = MASK, **data: object) -> EditRequest:
    x = picture(1, 4, 8)
    return EditRequest(**{"image": x, "target": "tiger", "reference": -x, "mask": mask, **data})


# What must stay


@pytest.mark.parametrize("schedule", ["scaled_linear", "flow"])
@pytest.mark.parametrize("name", MASKED)
def test_outside_the_mask_every_pixel_is_the_inputs(name: str, schedule: str) -> None:
    request = asked()
    edit = MASKED[name](gaussian(SCHEDULES[schedule]), request)
    kept = (MASK == 0).expand_as(edit.image)
    assert torch.equal(edit.image[kept], request.image[kept])
    assert torch.equal(edit.latent[kept], request.image[kept])
    assert float((edit.latent - request.image)[~kept].abs().min()) > 0


@pytest.mark.parametrize(
    "method", [RePaint(steps=12, jump_length=3, jump_samples=2), BlendedLatentDiffusion(steps=9)]
)
def test_an_all_keep_mask_returns_the_input(method: Method) -> None:
    request = asked(torch.zeros_like(MASK))
    assert torch.equal(method(gaussian(), request).latent, request.image)


@pytest.mark.parametrize("method", [RePaint(steps=12), BlendedLatentDiffusion(steps=12)])
def test_published_code_leaves_the_background_about_right(method: Method) -> None:
    method = replace(method, compat="authors")
    request = asked()
    edit = method(gaussian(), request)
    off = (edit.latent - request.image)[(MASK == 0).expand_as(edit.latent)]
    assert 0 < float(off.abs().mean()) < 0.2
    assert torch.equal(
        edit.image[..., :3], request.image[..., :3]
    )  # the edit's picture has it right all the same


# ILVR


@pytest.mark.parametrize("kind", ["bicubic", "box"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "flow"])
def test_ilvr_with_a_factor_of_one_and_no_stop_returns_the_reference(kind: str, schedule: str) -> None:
    request = asked(None)
    edit = ILVR(steps=20, factor=1, low_pass=kind)(gaussian(SCHEDULES[schedule]), request)
    torch.testing.assert_close(edit.latent, request.reference, atol=1e-14, rtol=0)


def test_with_the_projection_the_low_frequencies_are_the_references_and_the_rest_is_not() -> None:
    request = asked(None)
    edit = ILVR(steps=20, factor=4, low_pass="box")(gaussian(), request)
    exact = low_pass(edit.latent, 4, "box") - low_pass(request.reference, 4, "box")
    assert float(exact.abs().max()) < 1e-14
    assert float((edit.latent - request.reference).abs().mean()) > 0.1


def test_published_code_leaves_the_last_step_free() -> None:
    request, gap = asked(None), {}
    for compat in ("", "authors"):
        edit = ILVR(steps=20, factor=4, low_pass="box", compat=compat)(gaussian(), request)
        gap[compat] = float((low_pass(edit.latent - request.reference, 4, "box")).abs().max())
    assert gap[""] < 1e-14
    assert gap["authors"] > 1e-4


def test_a_stop_of_one_frees_everything() -> None:
    request = asked(None)
    first, second = (
        ILVR(steps=10, factor=2, stop=1)(gaussian(), replace(request, reference=reference)).latent
        for reference in (request.reference, 3 * request.reference)
    )
    assert torch.equal(first, second)


def test_box_is_a_projection_and_bicubic_is_none_but_both_keep_what_is_flat() -> None:
    x, flat = normal(1, 3, 64, 96), torch.full((1, 3, 64, 96), 0.3, dtype=torch.float64)
    for factor in (1, 2, 4, 8):
        for kind in ("box", "bicubic"):
            torch.testing.assert_close(low_pass(flat, factor, kind), flat)
            once = low_pass(x, factor, kind)
            again = (low_pass(once, factor, kind) - once).norm() / once.norm()
            assert float(again) < 1e-12 if kind == "box" or factor == 1 else float(again) > 0.05
    torch.testing.assert_close(low_pass(x, 1), x)
    assert float(low_pass(x, 4, "box").var()) == pytest.approx(1 / 16, rel=0.2)


@pytest.mark.parametrize(("factor", "size"), [(3, (4, 8)), (8, (4, 8)), (4, (6, 8))])
def test_a_factor_that_does_not_divide_is_refused_with_those_that_do(
    factor: int, size: tuple[int, int]
) -> None:
    x = picture(1, *size)
    with pytest.raises(
        InputError, match=f"factor: {factor} does not divide the canvas of .* take one of 1, 2"
    ):
        ILVR(factor=factor)(gaussian(), EditRequest(image=x, target="tiger", reference=x))


def test_a_reference_of_another_shape_is_refused() -> None:
    job = Job(ILVR(factor=2), gaussian(), asked(None), None)
    object.__setattr__(
        job.request, "reference", picture(1, 4, 6)
    )  # which the shape checks of tests would refuse first
    with pytest.raises(InputError, match="reference: .* where the picture is"):
        ILVR(factor=2)._reference(job)


def test_clamping_latents_is_refused() -> None:
    class Latents(type(gaussian())):
        def encode(self, image: Tensor, noise: object = None) -> Tensor:
            return image[:, :, ::2, ::2]

    prior = gaussian()
    prior.__class__ = Latents
    with pytest.raises(InputError, match="clamp: 'gaussian' works on latents, which have no bounds"):
        RePaint(clamp=True)(prior, asked())


def test_what_a_method_cannot_do_without_is_asked_for() -> None:
    with pytest.raises(InputError, match="reference: missing; ILVR needs a reference picture"):
        ILVR()(gaussian(), asked(reference=None))
    for method in (RePaint(), BlendedLatentDiffusion()):
        with pytest.raises(InputError, match="mask: missing; .* needs a mask of what may change"):
            method(gaussian(), asked(None))


# RePaint


def test_resampling_costs_what_the_paper_says() -> None:
    """T + ceil((T - j) / j) (r - 1) j calls of the network."""
    for steps, length, samples in ((20, 5, 3), (20, 5, 1), (25, 10, 2)):
        method = RePaint(steps=steps, jump_length=length, jump_samples=samples, guidance=1)
        calls = steps + -(-(steps - length) // length) * (samples - 1) * length
        assert method(gaussian(), asked()).evaluations == calls


def test_inside_an_independent_gaussian_repaint_draws_the_target() -> None:
    """The exact prior's pixels do not depend on each other: what is drawn is the target's distribution."""
    x, mask = picture(1, 40, 40), torch.ones(1, 1, 40, 40, dtype=torch.float64)
    mask[..., :4] = 0
    request = EditRequest(image=x, target="tiger", mask=mask)
    method = RePaint(steps=200, jump_length=50, jump_samples=2, guidance=1)
    drawn = method(gaussian(std=0.3), request).latent[..., 4:]
    torch.testing.assert_close(drawn.mean((2, 3)), mean("tiger")[..., 0, 0], atol=0.05, rtol=0)
    assert float((drawn - mean("tiger")).std()) == pytest.approx(0.3, rel=0.1)


def test_a_jump_longer_than_the_grid_is_refused() -> None:
    with pytest.raises(InputError, match="jump_length: 10 levels, but the grid has 8"):
        RePaint(steps=8)(gaussian(), asked())


# Blended Latent Diffusion


def test_a_wider_mask_narrows_to_the_mask_itself() -> None:
    thin = torch.zeros(1, 1, 8, 8)
    thin[..., 4, 4] = 1
    assert [int(widened(thin, k).sum()) for k in range(4)] == [1, 9, 25, 49]


def test_an_open_mask_is_sampling() -> None:
    method = BlendedLatentDiffusion(steps=8)
    inside, outside = (method(gaussian(), asked(mask)).latent for mask in (torch.ones_like(MASK), MASK))
    assert torch.equal(
        inside[..., 3:], outside[..., 3:]
    )  # pixels of the exact prior do not depend on each other


def test_a_pixel_model_has_no_decoder_to_fit() -> None:
    with pytest.raises(InputError, match="fit: model 'gaussian' works on pixels and has no decoder"):
        BlendedLatentDiffusion(steps=2, fit="decoder")(gaussian(), asked())


@pytest.mark.parametrize(
    "method",
    [
        ILVR(steps=4, factor=2),
        RePaint(steps=4, jump_length=1, jump_samples=1),
        BlendedLatentDiffusion(steps=4),
    ],
)
def test_levels_are_those_of_the_canvas(method: Method) -> None:
    """Where the shift of a flow depends on the canvas."""
    schedule, seen = Schedule.flow(warp=Warp(across=(0.5, 1.15))), list[float]()
    method(gaussian(schedule), asked(), lambda step: seen.append(step.t))
    assert seen == [t for t, _ in schedule.on(4 * 8).grid(4)] != [t for t, _ in schedule.grid(4)]


def test_a_reference_is_followed_on_the_levels_of_the_canvas() -> None:
    request = asked(mask=None)
    edit = ILVR(steps=4, factor=2, stop=0)(gaussian(Schedule.flow(warp=Warp(across=(0.5, 1.15)))), request)
    reference = request.reference
    assert reference is not None
    assert float(low_pass(edit.latent - reference, 2).abs().mean()) < 0.05  # without it 0.3
