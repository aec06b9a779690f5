"""LEDITS++, against the released pipeline: noise maps, masks of every step and concept, and the edit."""

from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from scumble.attention import masks
from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.ledits_pp import Concept, LEDITSpp

from .case import Case, same
from .models import listen, tiny_sd


@torch.no_grad()
def check_ledits_pp(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    source, negative, edits = (case.prompts(name) for name in ("source", "negative", "edits"))
    for name, prompts in {"source": source, "empty": [""], "negative": negative, "edit": edits}.items():
        case.close(f"{name}_embeddings", prior.embed(prompts).tokens, 1e-5)
    same(prior.embed([*source, *edits]).ids, case["token_ids"], "token_ids")
    n = hyper["num_inversion_steps"]
    method = LEDITSpp(
        steps=n,
        skip=hyper["skip"],
        order={"ddim": 1, "dpm": 2}[hyper["solver"]],
        source_guidance=hyper["source_guidance_scale"],
        mask=_mask(hyper),
        compat="pipeline",
    )
    assert hyper["eta"] == 1
    image = case["image"].permute(2, 0, 1)[None] / 127.5 - 1
    case.close("latents_clean", prior.encode(image))

    request = EditRequest(image=image, source=source, noise=Tape(case["noise"]))
    inversion = method.prepare(prior, request)
    same(torch.tensor([t for t, _ in inversion.pairs]), case["timesteps"], "timesteps")
    case.close("latents_T", inversion.start(1))
    corrected = case.json["tensors"]["corrected_latents"]["shape"][0]  # the last one may be left out
    case.close("corrected_latents", inversion.trajectory[1 : 1 + corrected])
    case.close("zs", _unit(prior, inversion))

    given = {"inversion": inversion, "concepts": _concepts(case, n)}
    calls = listen(prior)
    request = EditRequest(
        image=image, source=source, negative=negative, given=given, keep=("trajectory", "masks")
    )
    counts = case["num_edit_tokens"].tolist()
    with patch.object(masks, "spelled", lambda text: [_first(text, edits, counts)]):
        edit = method(prior, request)
    states, applied = (edit.kept[name] for name in ("trajectory", "masks"))
    found: Any = torch.stack(applied)
    case.close("masks", found.expand(-1, -1, -1, 4, -1, -1))
    case.close("edit_guidance", _guidance(given["concepts"], found, torch.stack([out for _, out in calls])))
    case.close("trajectory", torch.stack([inversion.start(1), *states]))
    case.close("latents_0", edit.latent)
    case.close("image_edit", edit.raw)


def _mask(hyper: Any) -> str:
    if hyper["use_intersect_mask"]:
        return "intersect"
    return "attention" if hyper["use_cross_attn_mask"] else "guidance"


def _unit(prior: Any, inversion: Any) -> Tensor:
    """The noise maps in units of the solver's spread; 0 where it has none."""
    spreads = [prior.schedule.posterior(t, s)[2].float() for t, s in inversion.pairs]
    spreads = [
        std * (s != prior.schedule.clean) for std, (_, s) in zip(spreads, inversion.pairs, strict=True)
    ]
    return torch.stack(
        [
            noise / std if float(std) else 0 * noise
            for noise, std in zip(inversion.noises, spreads, strict=True)
        ]
    )


def _concepts(case: Case, n: int) -> list[Concept]:
    hyper, edits = case.hyper, case.prompts("edits")

    def each(name: str) -> list[Any]:
        value = hyper[name]
        return value if isinstance(value, list) else [value] * len(edits)

    return [
        Concept(prompt=p, away=away, guidance=w, threshold=level, start=first / n, end=1 if end is None else end / n)
        for p, away, w, level, first, end in zip(
            edits,
            each("reverse_editing_direction"),
            each("edit_guidance_scale"),
            each("edit_threshold"),
            each("edit_warmup_steps"),
            each("edit_cooldown_steps"),
            strict=True,
        )
    ]  # fmt: skip


def _first(text: Any, edits: list[str], counts: list[int]) -> list[int]:
    """As many tokens behind the start as the code took a concept to have."""
    return list(range(1, 1 + counts[edits.index(text.prompts[0])]))


def _guidance(concepts: list[Concept], masks: Tensor, outs: Tensor) -> Tensor:
    """(steps, 1, c, h, w): what the concepts added to the null text's eps; the masks are 0 where one is off."""
    signs = torch.tensor([concept.guidance * (-1 if concept.away else 1) for concept in concepts])
    apart = outs[:, 1:] - outs[:, :1]
    return (signs[:, None, None, None, None] * masks * apart[:, :, None]).sum(1)
