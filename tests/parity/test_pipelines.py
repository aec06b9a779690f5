"""DiffEdit and SDEdit beside live pipelines, on the tiny Stable Diffusion: the same mask, chain and picture."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.diffedit import DiffEdit
from scumble.methods.sdedit import SDEdit
from scumble.priors.stable_diffusion import StableDiffusionPrior

from .models import MODELS

TINY = MODELS / "tiny-sd"
SOURCE, TARGET = "a photo of a cat on the grass", "a photo of a striped red circle"
SHAPE = (4, 16, 16)

pytestmark = pytest.mark.filterwarnings("ignore")  # the pipelines' own deprecations


@pytest.fixture(scope="module")
def prior() -> StableDiffusionPrior:
    return StableDiffusionPrior.from_pretrained(str(TINY), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def image() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    return torch.nn.functional.interpolate(coarse, (128, 128), mode="bilinear")  # in [0, 1]


def pipeline(kind: str) -> Any:
    import diffusers

    pipe = getattr(diffusers, kind).from_pretrained(
        TINY, safety_checker=None, **({"inverse_scheduler": None} if "DiffEdit" in kind else {})
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draws(seed: int, *counts: int) -> list[Tensor]:
    """What a pipeline's generator gives, call by call, split into single draws."""
    generator = torch.Generator().manual_seed(seed)
    calls = [torch.randn(count, *SHAPE, generator=generator) for count in counts]
    return [draw for call in calls for draw in call.split(1)]


@pytest.mark.slow
@torch.no_grad()
def test_diffedit_is_the_pipeline(prior: StableDiffusionPrior, image: Tensor) -> None:
    from diffusers import DDIMInverseScheduler, DDIMScheduler

    pipe = pipeline("StableDiffusionDiffEditPipeline")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.inverse_scheduler = DDIMInverseScheduler.from_config(pipe.scheduler.config)
    n, steps, generator = 3, 5, torch.Generator().manual_seed(7)
    mask = pipe.generate_mask(
        image, TARGET, source_prompt=SOURCE, num_maps_per_mask=n, num_inference_steps=steps,
        mask_thresholding_ratio=2.0, generator=generator,
    )  # fmt: skip
    inverted = pipe.invert(
        SOURCE,
        image,
        inpaint_strength=0.6,
        num_inference_steps=steps,
        guidance_scale=2.0,
        generator=generator,
    ).latents
    latents = pipe(
        TARGET, torch.from_numpy(mask), inverted, inpaint_strength=0.6, num_inference_steps=steps,
        guidance_scale=3.0, output_type="latent",
    ).images  # fmt: skip

    method = DiffEdit(
        steps=steps,
        strength=0.6,
        guidance=3.0,
        inversion_guidance=2.0,
        draws=n,
        outliers=2.0,
        compat="pipeline",
    )
    *for_mask, for_inversion = draws(7, n, n, 1)
    request = EditRequest(
        image=2 * image - 1, source=SOURCE, target=TARGET, noise=Tape([for_inversion, *for_mask])
    )
    edit = method(prior, request)
    assert 0 < mask.mean() < 1
    assert torch.equal(edit.mask[:, 0], torch.from_numpy(mask).float())
    given = EditRequest(image=2 * image - 1, source=SOURCE, noise=Tape([for_inversion]))
    chain = method.prepare(prior, given).trajectory
    torch.testing.assert_close(chain[:-1].transpose(0, 1), inverted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(edit.latent, latents, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_sdedit_is_the_img2img_pipeline(strength: float, prior: StableDiffusionPrior, image: Tensor) -> None:
    pipe = pipeline("StableDiffusionImg2ImgPipeline")
    latents = pipe(
        TARGET, image, strength=strength, num_inference_steps=5, guidance_scale=3.0, output_type="latent",
        generator=torch.Generator().manual_seed(7),
    ).images  # fmt: skip
    method = SDEdit(strength=strength, steps=5, guidance=3.0, eta=0.0, compat="img2img")
    edit = method(prior, EditRequest(image=2 * image - 1, target=TARGET, noise=Tape(draws(7, 1, 1))))
    torch.testing.assert_close(edit.latent, latents, atol=1e-3, rtol=1e-3)
