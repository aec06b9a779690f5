"""Sampling beside the live text-to-image pipeline, on the tiny Stable Diffusion: the same noise, the same latents."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.sampling import Sampling
from scumble.priors.stable_diffusion import StableDiffusionPrior

from .models import MODELS

TINY = MODELS / "tiny-sd"
PROMPT, NEGATIVE = "a photo of a striped red circle", "a cat on the grass"
STEPS = 6

diffusers: Any = pytest.importorskip("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore")  # the pipelines' own deprecations

SAMPLERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}, {}),
    "ddim with noise": ("DDIMScheduler", {}, {"eta": 0.7}),
    "ddpm": ("DDPMScheduler", {"variance_type": "fixed_small"}, {"sampler": "ddpm"}),
    "dpm": ("DPMSolverMultistepScheduler", {"timestep_spacing": "leading"}, {"sampler": "dpm"}),
    "dpm, trailing": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "trailing"},
        {"sampler": "dpm", "spacing": "trailing"},
    ),
    "dpm, linspace": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "linspace"},
        {"sampler": "dpm", "spacing": "linspace"},
    ),
    "dpm of order 1": (
        "DPMSolverMultistepScheduler",
        {"solver_order": 1, "timestep_spacing": "leading"},
        {"sampler": "dpm", "order": 1},
    ),
}


@pytest.fixture(scope="module")
def prior() -> StableDiffusionPrior:
    return StableDiffusionPrior.from_pretrained(str(TINY), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(TINY, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draws(count: int, shape: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    """A start, and what a pipeline's generator of seed 5 gives step by step."""
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(1, *shape, generator=torch.Generator().manual_seed(4))
    return start, [torch.randn(1, *shape, generator=generator) for _ in range(count)]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("size", [(128, 128), (64, 128)], ids=["square", "wide"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_sampling_is_the_pipeline(
    name: str, size: tuple[int, int], prior: StableDiffusionPrior, pipe: Any
) -> None:
    scheduler, options, settings = SAMPLERS[name]
    stated = diffusers.DDIMScheduler.load_config(TINY / "scheduler")
    config = {**stated, "clip_sample": False, **options}
    pipe.scheduler = getattr(diffusers, scheduler).from_config(config)
    start, fresh = draws(STEPS, (4, size[0] // 8, size[1] // 8))
    latents: Tensor = pipe(
        PROMPT, negative_prompt=NEGATIVE, height=size[0], width=size[1], num_inference_steps=STEPS,
        guidance_scale=3.0, latents=start, output_type="latent", generator=torch.Generator().manual_seed(5),
        **({"eta": settings["eta"]} if "eta" in settings else {}),
    ).images  # fmt: skip
    request = EditRequest(size=size, target=PROMPT, negative=NEGATIVE, noise=Tape([start, *fresh]))
    edit = Sampling(steps=STEPS, guidance=3.0, **settings)(prior, request)
    torch.testing.assert_close(edit.latent, latents, atol=2e-4, rtol=0)
    assert edit.evaluations == 2 * STEPS


@pytest.mark.slow
@torch.no_grad()
def test_rescale_is_the_pipelines(prior: StableDiffusionPrior, pipe: Any) -> None:
    pipe.scheduler = diffusers.DDIMScheduler.from_config({**pipe.scheduler.config, "clip_sample": False})
    start, _ = draws(0, (4, 16, 16))
    latents: Tensor = pipe(
        PROMPT, num_inference_steps=STEPS, guidance_scale=7.5, guidance_rescale=0.7, latents=start, height=128,
        width=128, output_type="latent",
    ).images  # fmt: skip
    request = EditRequest(size=(128, 128), target=PROMPT, noise=Tape([start]))
    edit = Sampling(steps=STEPS, guidance=7.5, rescale=0.7)(prior, request)
    torch.testing.assert_close(edit.latent, latents, atol=2e-4, rtol=0)
