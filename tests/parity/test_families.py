"""Sampling beside diffusers' own pipelines of every family: same weights, same start, same latents."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.prior import Prior
from scumble.core.text import Negative
from scumble.loops.ddim import ddim
from scumble.priors.load import load_prior
from tests.priors.families import MAKERS, save

pytestmark = pytest.mark.filterwarnings("ignore")  # the pipelines' own deprecations

STEPS = 4
LAYERS = (1, 2, 3)  # of FLUX.2's text encoder, as 10, 20 and 30 of 40
CANVASES = [(32, 48), (40, 40)]
PROMPTS = ["a cat", "a red striped circle on a table, seen from above"]  # of unequal length
TOLERANCE = {
    "sdxl": 1e-4,
    "sd3": 1e-5,
    "flux": 1e-5,
    "schnell": 1e-5,
    "pixart": 1e-4,
    "zimage": 1e-5,
    "qwen": 1e-5,
    "flux2": 1e-5,
    "klein": 1e-5,
    "sana": 1e-5,
}  # of the largest latent


@pytest.fixture(
    scope="module",
    params=[pytest.param(f, marks=pytest.mark.slow if f == "sana" else ()) for f in TOLERANCE],  # its codec
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Prior]:
    """A family, its pipeline, and the prior of the saved folder."""
    folder = tmp_path_factory.mktemp("families") / request.param
    pipe = MAKERS[request.param]()
    save(pipe, folder)
    pipe.set_progress_bar_config(disable=True)
    return request.param, pipe, load_prior(str(folder), device="cpu")


def start(prior: Prior, canvas: tuple[int, int], rows: int = 2) -> Tensor:
    z = prior.encode(torch.zeros(1, 3, *canvas))
    return torch.randn(rows, *z.shape[1:], generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def sample(prior: Prior, noise: Tensor, canvas: tuple[int, int], w: float, negative: str) -> Tensor:
    text, null = prior.embed(PROMPTS, size=canvas), prior.embed([Negative(negative)] * 2, size=canvas)
    schedule = prior.schedule.on(canvas[0] * canvas[1] // prior.card.multiple**2)
    return ddim(guide(prior, text, null, w), noise, schedule.grid(STEPS), schedule)


def theirs(family: str, pipe: Any, noise: Tensor, canvas: tuple[int, int], w: float, negative: str) -> Tensor:
    from diffusers import FluxPipeline

    settings: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "latent"}
    settings |= {"height": canvas[0], "width": canvas[1], "guidance_scale": w}
    h, w_ = noise.shape[-2:]
    packed = FluxPipeline._pack_latents(noise, len(noise), noise.shape[1], h, w_)
    if family in ("flux", "schnell"):
        length = 512 if family == "flux" else 256
        out = pipe(PROMPTS, latents=packed, max_sequence_length=length, **settings).images
        return FluxPipeline._unpack_latents(
            out, h * pipe.vae_scale_factor, w_ * pipe.vae_scale_factor, pipe.vae_scale_factor
        )
    if family == "zimage":  # its guidance is ours less 1
        settings["guidance_scale"] = w - 1
        return pipe(list(PROMPTS), negative_prompt=[negative] * 2, latents=noise, **settings).images
    if family == "qwen":  # its authors' null is a blank
        settings |= {"true_cfg_scale": w, "guidance_scale": None, "negative_prompt": [negative or " "] * 2}
        out = pipe(PROMPTS, latents=packed, **settings).images
        return FluxPipeline._unpack_latents(
            out, h * pipe.vae_scale_factor, w_ * pipe.vae_scale_factor, pipe.vae_scale_factor
        )
    patches = packed.mT.unflatten(-1, (h // 2, -1))
    if family == "flux2":
        settings["text_encoder_out_layers"] = LAYERS
        out = pipe(prompt=list(PROMPTS), latents=patches, **settings).images
        return FluxPipeline._unpack_latents(
            out, *(s * pipe.vae_scale_factor for s in (h, w_)), pipe.vae_scale_factor
        )
    if family == "klein":
        embeds, _ = pipe.encode_prompt([negative] * 2, text_encoder_out_layers=LAYERS)
        settings |= {"negative_prompt_embeds": embeds, "text_encoder_out_layers": LAYERS}
        return pipe(prompt=list(PROMPTS), latents=patches, **settings).images
    if family in ("pixart", "sana"):
        settings |= {"use_resolution_binning": False, "clean_caption": False}
        return pipe(PROMPTS, negative_prompt=[negative] * 2, latents=noise, **settings).images
    if w != 1:
        settings["negative_prompt"] = [negative] * 2 if negative else None
    if (
        family == "sdxl"
    ):  # its scheduler scales the start: Euler's noise is that of a variance-exploding chain
        from diffusers import DDIMScheduler

        pipe.scheduler = DDIMScheduler.from_config(
            pipe.scheduler.config, clip_sample=False, set_alpha_to_one=True
        )
    return pipe(PROMPTS, latents=noise, **settings).images


@pytest.mark.parametrize("canvas", CANVASES, ids=str)
@pytest.mark.parametrize(("w", "negative"), [(1.0, ""), (5.0, ""), (5.0, "ugly, blurred")])
def test_sampling_is_the_pipelines(
    pair: tuple[str, Any, Prior], canvas: tuple[int, int], w: float, negative: str
) -> None:
    family, pipe, prior = pair
    if family == "sana":  # multiples of the published codec's stride, whatever this one's
        canvas = (32, 64) if canvas[0] != canvas[1] else (64, 64)
    if prior.card.guidance != "free" and (negative or (w != 1 and prior.card.guidance == "none")):
        with pytest.raises(InputError, match="negative|guidance"):
            sample(prior, start(prior, canvas), canvas, w, negative)
        return
    noise = start(prior, canvas)
    expected = theirs(family, pipe, noise, canvas, w, negative)
    found = sample(prior, noise, canvas, w, negative)
    if family == "klein":  # its pipeline returns them in the codec's scale
        expected = prior._scale.to(expected)  # pyright: ignore[reportAttributeAccessIssue]
    error, size = float((found - expected).abs().max()), float(expected.abs().max())
    assert error <= TOLERANCE[family] * size


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("canvas", CANVASES, ids=str)
def test_sdxls_own_euler_is_our_ddim(spacing: str, canvas: tuple[int, int], tmp_path: Path) -> None:
    """Euler's x is ours divided by alpha. SDXL's config says set_alpha_to_one, which Euler does not know."""
    pipe = MAKERS["sdxl"]()
    config = dict(pipe.scheduler.config) | {"timestep_spacing": spacing, "set_alpha_to_one": False}
    pipe.scheduler = EulerDiscreteScheduler.from_config(config)
    prior = load_prior(str(save(pipe, tmp_path / "sdxl")), device="cpu")
    pipe.set_progress_bar_config(disable=True)
    noise = start(prior, canvas)
    settings = {"height": canvas[0], "width": canvas[1], "num_inference_steps": STEPS, "guidance_scale": 5.0}
    expected = pipe(PROMPTS, latents=noise, output_type="latent", **settings).images
    # Its trailing grid begins at sigma noise, not at sqrt(1 + sigma^2), so ours begins a little lower.
    pipe.scheduler.set_timesteps(STEPS)
    sigma = float(pipe.scheduler.sigmas[0])
    begin = noise * (float(pipe.scheduler.init_noise_sigma) / (1 + sigma**2) ** 0.5)
    found = sample(prior, begin, canvas, 5.0, "")
    assert float((found - expected).abs().max()) <= TOLERANCE["sdxl"] * float(expected.abs().max())


@torch.no_grad()
def test_the_codec_is_the_pipelines(pair: tuple[str, Any, Prior]) -> None:
    family, pipe, prior = pair
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    config = pipe.vae.config
    if family == "sana":
        z = pipe.vae.encode(image).latent * config.scaling_factor
        torch.testing.assert_close(prior.encode(image), z)
        torch.testing.assert_close(
            prior.decode(z), pipe.vae.decode(z / config.scaling_factor).sample, rtol=1e-4, atol=1e-5
        )
        return
    if family == "qwen":
        mean = pipe.vae.encode(image[:, :, None]).latent_dist.mean
        middle, std = (
            torch.tensor(each)[None, :, None, None] for each in (config.latents_mean, config.latents_std)
        )
        torch.testing.assert_close(prior.encode(image), (mean[:, :, 0] - middle) / std)
        picture = pipe.vae.decode(mean).sample[:, :, 0]
        torch.testing.assert_close(prior.decode(prior.encode(image)), picture, rtol=1e-4, atol=1e-5)
        return
    mean = pipe.vae.encode(image).latent_dist.mean
    if family in ("flux2", "klein"):
        z = pipe._encode_vae_image(image, None)
        torch.testing.assert_close(prior.encode(image), pipe._unpatchify_latents(z))
        torch.testing.assert_close(
            prior.decode(prior.encode(image)), pipe.vae.decode(mean).sample, rtol=1e-4, atol=1e-5
        )
        return
    z = (mean - (config.shift_factor or 0)) * config.scaling_factor
    torch.testing.assert_close(prior.encode(image), z)
    torch.testing.assert_close(prior.decode(z), pipe.vae.decode(mean).sample, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_text_is_the_pipelines(pair: tuple[str, Any, Prior]) -> None:
    family, pipe, prior = pair
    text = prior.embed(PROMPTS)
    assert all(text.spans("a"))
    if family in ("flux2", "klein"):
        tokens, _ = pipe.encode_prompt(list(PROMPTS), text_encoder_out_layers=LAYERS)
        torch.testing.assert_close(text.tokens, tokens)
        return
    if text.mask is not None:
        settings = {"complex_human_instruction": instruction(pipe)} if family == "sana" else {}
        tokens = pipe.encode_prompt(list(PROMPTS), device="cpu", **settings)[0]
        for ours, mask, expected in zip(text.tokens, text.mask, tokens, strict=True):
            torch.testing.assert_close(ours[mask], expected[: mask.sum()], rtol=1e-4, atol=1e-5)
        return
    if family in ("flux", "schnell"):
        tokens, pooled, _ = pipe.encode_prompt(
            PROMPTS, None, max_sequence_length=512 if family == "flux" else 256
        )
    elif family == "sdxl":
        tokens, _, pooled, _ = pipe.encode_prompt(PROMPTS)
    else:
        tokens, _, pooled, _ = pipe.encode_prompt(PROMPTS, None, None)
    torch.testing.assert_close(text.tokens, tokens)
    torch.testing.assert_close(text.pooled, pooled)


def instruction(pipe: Any) -> list[str]:
    """Sana's, which its pipeline has as a default."""
    return inspect.signature(pipe.__call__).parameters["complex_human_instruction"].default


def test_an_odd_canvas_is_refused(pair: tuple[str, Any, Prior]) -> None:
    family, _, prior = pair
    side = 33 if family in ("sdxl", "sana") else 34
    with pytest.raises(InputError, match=f"{side} x 32 px; both sides must be multiples of"):
        prior.encode(torch.zeros(1, 3, 32, side))
