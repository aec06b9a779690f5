"""Null-text inversion and Direct Inversion, against their authors' code: the chains, what is tuned or stored."""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scumble.artifacts.inversion import Inversion
from scumble.core.grids import upward
from scumble.core.guidance import guide
from scumble.core.job import Job
from scumble.core.request import EditRequest
from scumble.inversions import DDIMInverter, off_the_chain
from scumble.methods.sdedit import SDEdit
from scumble.tuning.null_text import Tuning, tune_null_text

from .attention import Branches, p2p
from .case import Case, same
from .models import tiny_sd


def picture(case: Case, prior: Any) -> Tensor:
    """The case's picture (1, 3, H, W); of a case that states a latent, a grey one that encodes to it."""
    if "latents_clean" in case:
        clean = case["latents_clean"].float()
        prior.encode = lambda image, noise=None: clean
        return torch.zeros(1, 3, 8 * clean.shape[-2], 8 * clean.shape[-1])
    case.close("latents_clean_vae", prior.encode(_image(case)))
    return _image(case)


def _image(case: Case) -> Tensor:
    return case["image"].permute(2, 0, 1)[None] / 127.5 - 1


def texts(case: Case, prior: Any) -> tuple[Any, Any]:
    """(prompts', empty prompt's) text, equal to the recorded ones; the first prompt is the source's."""
    text, null = prior.embed(case.prompts("prompts")), prior.embed([""])
    same(text.ids, case["token_ids"], "token_ids")
    case.close("text_embeddings", text.tokens, 1e-5)
    case.close("negative_embeddings", null.tokens, 1e-5)
    return text, null


def chain(case: Case, prior: Any) -> Inversion:
    """The pivot: unguided inversion with the source prompt."""
    hyper = case.hyper
    source = case.prompts("prompts")[0]
    request = EditRequest(image=picture(case, prior), source=source)
    inverter = DDIMInverter(steps=hyper["num_steps"], guidance=hyper["inversion_guidance_scale"])
    found = inverter(Job(SDEdit(), prior, request, None), hyper["num_steps"])
    same(torch.tensor([t for t, _ in found.pairs]), case["timesteps"], "timesteps")
    case.close("pivot_trajectory", found.trajectory.flip(0))
    assert upward(found.pairs)[-1][1] == found.pairs[0][0]
    return found


@torch.no_grad()
def check_null_text(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    text, null = texts(case, prior)
    pivot = chain(case, prior)
    learning = re.fullmatch(r"([\d.e+-]+) \* \(1 - i/100\)", hyper["learning_rate"])
    assert learning, hyper["learning_rate"]
    tuning = Tuning(
        inner_steps=hyper["num_inner_steps"],
        rate=float(learning[1]),
        early_stop=hyper["early_stop_epsilon"],
        growth=50 * hyper["early_stop_growth_per_step"],
        published=True,
    )
    assert (hyper["adam_betas"], hyper["adam_eps"]) == ([0.9, 0.999], 1e-8)
    w = hyper["guidance_scale"]
    tuned = tune_null_text(prior, pivot.trajectory, pivot.pairs, text.take([0]), null, w, tuning)
    same((tuned.losses[..., 0] >= 0).sum(1), case["inner_counts"], "inner_counts")
    case.close("inner_losses", tuned.losses[..., 0])
    case.close("null_embeddings", tuned.tokens[:, 0])
    case.close("optimised_trajectory", tuned.path)
    _edit(case, prior, replace(pivot, kind="null_text", nulls=tuned.tokens, guidance=w))


@torch.no_grad()
def check_direct_inversion(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    text, null = texts(case, prior)
    pivot = chain(case, prior)
    denoise = guide(prior, text, null.expand(len(text)), hyper["guidance_scale"])
    offsets = off_the_chain(denoise, pivot, prior.schedule, len(text))
    case.close("offsets", offsets)
    _edit(case, prior, replace(pivot, kind="direct", forced=True))


def _edit(case: Case, prior: Any, inversion: Inversion) -> None:
    """Prompt-to-Prompt from the inversion: all states of both branches."""
    prompts, clean = case.prompts("prompts"), inversion.trajectory[-1]
    prior.encode = lambda image, noise=None: clean
    method, branches = p2p(case), Branches(prior)
    image = torch.zeros(1, 3, *inversion.size) if "image" not in case else _image(case)
    request = EditRequest(
        image=image, source=prompts[0], target=prompts[1:], given={"inversion": inversion}, keep=("source",)
    )
    with branches.blending():
        edit = method(prior, request)
    states = branches.states(method.steps)
    case.close("edit_trajectory", states)
    case.close("latents_0", states[-1])
    case.close("image_edit", edit.raw)
    if method.blend:
        case.close("latents_before_blend", torch.stack(branches.before))
        case.close("masks", torch.stack(branches.masks))
