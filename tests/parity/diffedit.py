"""DiffEdit, against the pipeline that stands in for the code its authors did not publish."""

from typing import Any

import torch
from torch import Tensor

from scumble.core.guidance import guide_branches
from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.diffedit import DiffEdit, difference, threshold

from .case import Case, same
from .models import listen, tiny_sd

BLOCKS = (("source", "text"), ("source", "null"), ("target", "text"), ("target", "null"))


@torch.no_grad()
def check_diffedit(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    names = ("source", "target", "source_negative", "target_negative")
    texts = {name: prior.embed(case.prompts(name)) for name in names}
    same(torch.cat([text.ids for text in texts.values()]), case["token_ids"], "token_ids")
    for name, text in texts.items():
        case.close(f"{name}_embeddings", text.tokens, 1e-5)
    image, samples, sample = _picture(case, prior)
    mask = _mask(case, prior, texts, samples)

    method = DiffEdit(
        steps=hyper["num_steps"],
        strength=hyper["inpaint_strength"],
        guidance=max(hyper["guidance_scale"], 1),
        inversion_guidance=max(hyper["inversion_guidance_scale"], 1),
        draws=hyper["num_maps_per_mask"],
        mask_strength=hyper["mask_encode_strength"],
        outliers=hyper["mask_thresholding_ratio"],
        threshold=hyper["mask_threshold"],
        compat="pipeline",
    )
    assert (hyper["num_reg_steps"], hyper["eta"]) == (0, 0)

    def request(negative: str, **data: Any) -> EditRequest:
        return EditRequest(
            image=image, source=case.prompts("source"), target=case.prompts("target"),
            negative=case.prompts(negative), keep=("trajectory",), **data,
        )  # fmt: skip

    inversion = method.prepare(prior, request("source_negative", noise=Tape(sample)))
    case.close("inverted_latents", inversion.trajectory[:-1].transpose(0, 1))
    moves = len(inversion.pairs)
    same(torch.tensor([t for t, _ in inversion.pairs]), case["timesteps"], "timesteps")

    given = {"inversion": inversion}
    if case.prompts("source_negative") == case.prompts("target_negative"):
        # The exchanged roles do not change this mask, so the method must find it, too.
        noise = Tape([*samples, *case["mask_noise"].split(1)])
        edit = method(prior, request("target_negative", noise=noise, given=given))
        same(edit.mask, mask, "mask")
    else:
        edit = method(prior, request("target_negative", mask=mask, given=given))
    states: Any = edit.kept["trajectory"]
    case.close("trajectory", torch.stack([inversion.start(len(image)), *states[-moves:]]))
    case.close("latents_0", edit.latent)
    case.close("image_edit", edit.raw)


def _picture(case: Case, prior: Any) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The picture, and the codec's draws for the mask and for the inversion."""
    if "latents_clean" in case:
        z = case["latents_clean"]
        prior.encode = lambda image, noise=None: z
        return torch.zeros(1, 3, 8 * z.shape[-2], 8 * z.shape[-1]), [], []
    image = case["image"].permute(2, 0, 1)[None] / 127.5 - 1
    return image, list(case["mask_vae_noise"].split(1)), [case["inversion_vae_noise"]]


def _mask(case: Case, prior: Any, texts: dict[str, Any], samples: list[Tensor]) -> Tensor:
    """The mask with the case's own negatives, guided with the roles of null and text exchanged, as they are."""
    hyper, schedule, noises = case.hyper, prior.schedule, case["mask_noise"].split(1)
    n, moves = hyper["num_steps"], int(hyper["num_steps"] * hyper["mask_encode_strength"])
    t = schedule.grid(n)[n - moves][0]
    same(torch.tensor([t]), case["mask_timestep"], "mask_timestep")
    image = torch.zeros(1) if not samples else case["image"].permute(2, 0, 1)[None] / 127.5 - 1
    clean = [prior.encode(image, Tape([draw])) for draw in samples] or [prior.encode(image)] * len(noises)
    positive = {role: texts[role] for role in ("source", "target")}
    negative = {role: texts[f"{role}_negative"] for role in ("source", "target")}
    calls = listen(prior)
    denoise = guide_branches(prior, negative, positive, max(hyper["mask_guidance_scale"], 1))
    found = [
        difference(denoise, schedule.mix(z, noise, t), t, schedule, 1, 1)
        for z, noise in zip(clean, noises, strict=True)
    ]
    # Of every draw: the nulls of source and target, then their texts, and the roles are exchanged.
    order = [("source", "text"), ("target", "text"), ("source", "null"), ("target", "null")]
    rows = torch.stack([out for _, out in calls])
    case.close("mask_eps", torch.cat([rows[:, order.index(block)] for block in BLOCKS]))
    del prior.predict
    mask = threshold(found, hyper["mask_thresholding_ratio"], hyper["mask_threshold"], together=True)
    same(mask[:, 0], case["mask"], "mask")
    return mask
