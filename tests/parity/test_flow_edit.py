"""FlowEdit on SD3 and FLUX.1 equals the published update on the grids of these families.

The loops below are written out from Kulikov et al. 2024 (arXiv:2412.08629), Algorithm 1, in the published code's
conventions: times and levels from the pipeline's own scheduler, guidance by two calls (SD3) or by the network (FLUX).
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline, calculate_shift
from torch import Tensor

from scumble.core.noise import Tape
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.methods.flowedit import FlowEdit
from scumble.priors.load import load_prior
from tests.priors.families import flux, save, sd3

SOURCE, TARGET = "a cat", "a dog on a red table"
STEPS, N_MAX, W_SOURCE, W_TARGET = 6, 4, 1.5, 5.5


def loaded(pipe: Any, folder: Any) -> Prior:
    save(pipe, folder)
    (folder / "card.json").write_text(json.dumps({"size": 32}))
    return load_prior(str(folder), device="cpu")


def published(velocity: Any, sigmas: Tensor, z: Tensor, draws: list[Tensor]) -> Tensor:
    """z_fe <- z_fe + (s' - s) (v_target - v_source), over the last N_MAX levels."""
    edited = z.clone()
    for k in range(STEPS - N_MAX, STEPS):
        s, after = sigmas[k], sigmas[k + 1]
        source = (1 - s) * z + s * draws[k - (STEPS - N_MAX)]
        target = edited + source - z
        edited = edited + (after - s) * (
            velocity(target, s, TARGET, W_TARGET) - velocity(source, s, SOURCE, W_SOURCE)
        )
    return edited


def compare(prior: Prior, velocity: Any, sigmas: Tensor) -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, 32, 48, generator=generator) * 2 - 1
    z = prior.encode(image)
    draws = [torch.randn(z.shape, generator=generator) for _ in range(N_MAX)]
    expected = published(velocity, sigmas, z, draws)
    method = FlowEdit(steps=STEPS, strength=N_MAX / STEPS, source_guidance=W_SOURCE, guidance=W_TARGET)
    found = method(prior, EditRequest(image=image, source=SOURCE, target=TARGET, noise=Tape(draws))).latent
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert float((found - z).abs().max()) > 1e-3


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_on_stable_diffusion_3(tmp_path: Any) -> None:
    pipe = sd3()
    prior = loaded(pipe, tmp_path)
    pipe.scheduler.set_timesteps(STEPS)

    def velocity(x: Tensor, s: Tensor, prompt: str, w: float) -> Tensor:
        tokens, null, pooled, null_pooled = pipe.encode_prompt(prompt, None, None)

        def ask(tokens: Tensor, pooled: Tensor) -> Tensor:
            return pipe.transformer(x, tokens, pooled, s.reshape(1) * 1000).sample

        at_null = ask(null, null_pooled)
        return at_null + w * (ask(tokens, pooled) - at_null)

    compare(prior, velocity, pipe.scheduler.sigmas)


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_on_flux(tmp_path: Any) -> None:
    pipe = flux()
    prior = loaded(pipe, tmp_path)
    height, width = 8, 12  # patches
    pipe.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS), mu=calculate_shift(height * width))

    def velocity(x: Tensor, s: Tensor, prompt: str, w: float) -> Tensor:
        tokens, pooled, txt_ids = pipe.encode_prompt(prompt, None)
        packed = FluxPipeline._pack_latents(x, 1, 16, 2 * height, 2 * width)
        img_ids = FluxPipeline._prepare_latent_image_ids(1, height, width, x.device, x.dtype)
        out = pipe.transformer(
            hidden_states=packed, timestep=s.reshape(1), guidance=torch.tensor([w]), pooled_projections=pooled,
            encoder_hidden_states=tokens, txt_ids=txt_ids, img_ids=img_ids,
        ).sample  # fmt: skip
        return FluxPipeline._unpack_latents(out, 4 * height, 4 * width, 2)

    compare(prior, velocity, pipe.scheduler.sigmas)
