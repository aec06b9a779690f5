"""Pix2Pix-Zero: its losses, its inversion, and whole edits, against the authors' code and the pipeline's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from scumble.artifacts.direction import Direction
from scumble.artifacts.inversion import Inversion
from scumble.core.job import Job
from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.inversions import kinds
from scumble.loops import regularise
from scumble.methods.pix2pix_zero import Pix2PixZero

from .case import Case, same
from .models import listen, tiny_sd


def check_pix2pix_zero(case: Case) -> None:
    if "auto_corr" in case:
        _losses(case)
    elif "edit_trajectory" in case:
        _edit(case)
    else:
        _inversion(case)


def _losses(case: Case) -> None:
    x = case["x"].requires_grad_()
    rolls = iter(case["rolls"].split(1))
    found = {
        "auto_corr": regularise.auto_correlation(x, lambda side: next(rolls)),
        "auto_corr_shift1": regularise.auto_correlation(x, lambda side: torch.ones(1, dtype=torch.int64)),
        "kl": regularise.divergence(x),
    }
    for name, loss in found.items():
        case.close(name, loss[0])
        case.close(f"{name}_grad", torch.autograd.grad(loss[0], x)[0])


@torch.no_grad()
def _inversion(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    caption = case.prompts("prompt")
    _text(case, prior, caption)
    published = "eps_raw" in case  # else the pipeline's, which states less
    assert hyper["guidance_scale"] == 1
    method = Pix2PixZero(
        steps=hyper["num_inversion_steps"],
        auto_correlation=hyper["lambda_ac"],
        kl=hyper["lambda_kl"],
        rounds=hyper["num_reg_steps"],
        rolls=hyper["num_ac_rolls"],
        compat="authors" if published else "pipeline",
    )
    image, draws = _picture(case, prior)
    request = EditRequest(image=image, source=caption, noise=Tape([*draws, *case["rolls"].split(1)]))
    calls, told = listen(prior), list[int]()
    with _watched(told) as regularised:
        inversion = method.prepare(prior, request)
    same(torch.tensor(told), case["timesteps"], "timesteps")
    case.close("trajectory", inversion.trajectory.flip(0))
    case.close("latents_inv", inversion.start(1))
    if published:
        case.close("latents_clean", inversion.trajectory[-1])
        case.close("eps_raw", torch.stack([out for _, out in calls]))
        case.close("eps_regularised", torch.stack(regularised))


def _picture(case: Case, prior: Any) -> tuple[Tensor, list[Tensor]]:
    if "image" in case:
        return case["image"].permute(2, 0, 1)[None] / 127.5 - 1, [case["vae_noise"]]
    clean = case["latents_clean"]
    prior.encode = lambda image, noise=None: clean
    return torch.zeros(1, 3, 8 * clean.shape[-2], 8 * clean.shape[-1]), []


@contextmanager
def _watched(told: list[int]) -> Iterator[list[Tensor]]:
    """Collects the times the network is told, and its regularised eps."""
    made: list[Tensor] = []
    white = regularise.regularised

    def watched(*given: Any) -> Any:
        denoise = white(*given)

        def keeping(x_t: Tensor, t: Tensor, at: Tensor | None = None) -> Any:
            p = denoise(x_t, t, at)
            told.append(int(t[0]))
            made.append(p.eps)
            return p

        return keeping

    with patch.object(kinds, "regularised", watched):
        yield made


def _text(case: Case, prior: Any, *prompts: list[str]) -> None:
    texts = [prior.embed(given) for given in prompts]
    same(torch.cat([text.ids for text in texts]), case["token_ids"], "token_ids")
    for name, text in zip(("text_embeddings", "negative_embeddings"), texts, strict=False):
        case.close(name, text.tokens, 1e-5)


@torch.no_grad()
def _edit(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    caption, negative = case.prompts("prompt"), case.prompts("negative_prompt")
    _text(case, prior, caption, negative)
    banks = {name: tuple(case.prompts(f"{name}_sentences")) for name in ("source", "target")}
    same(prior.embed([*banks["source"], *banks["target"]]).ids, case["sentence_token_ids"], "sentences")
    direction = Direction(**banks)
    case.close("edit_direction", direction.tokens(prior))

    start = case["latents_T"]
    prior.encode = lambda image, noise=None: start
    image = torch.zeros(1, 3, 8 * start.shape[-2], 8 * start.shape[-1])
    method = Pix2PixZero(
        steps=hyper["num_steps"],
        guidance=hyper["guidance_scale"],
        attention_guidance=hyper["cross_attention_guidance"],
        null="negative",
        compat="authors",
    )
    assert hyper["eta"] == 0
    data: dict[str, Any] = {"image": image, "source": caption, "negative": negative}
    inversion = _starting(Job(method, prior, EditRequest(**data), None), method, start)
    calls, states = listen(prior), list[Tensor]()
    given = {"inversion": inversion, "direction": direction}
    edit = method(prior, EditRequest(**data, given=given, keep=("trajectory",)))
    pairs = prior.schedule.grid(method.steps)
    same(torch.tensor([t for t, _ in pairs]), case["timesteps"], "timesteps")
    # Of every step: the caption's call, the one that is differentiated, and the one from where that led.
    states = [x[1:] for x, _ in calls[::3]]
    case.close("reference_trajectory", torch.stack([*states, _stepped(prior, calls[-3], pairs[-1], hyper)]))
    case.close("shifted_inputs", torch.stack([x for x, _ in calls[2::3]]))
    case.close("eps_edit", torch.stack([out for _, out in calls[2::3]]))
    made: Any = edit.kept["trajectory"]
    case.close("edit_trajectory", torch.stack([start, *made]))
    case.close("latents_0", edit.latent)
    case.close("image_edit", edit.raw)


def _starting(job: Job, method: Pix2PixZero, start: Tensor) -> Inversion:
    """An inversion of which nothing but the start is known."""
    pairs = tuple(method._inverter().pairs(job.prior.schedule))
    states = torch.cat([start[None], torch.zeros(len(pairs), *start.shape)])
    return kinds.described(job, kind="regularised", pairs=pairs, trajectory=states)


def _stepped(prior: Any, call: tuple[Tensor, Tensor], pair: Any, hyper: Any) -> Tensor:
    """Where a guided call, of [null, text], leads."""
    (x, out), (t, s) = call, pair
    p = prior.schedule.predict(x, t, **{prior.schedule.prediction: out})
    eps = p.eps[:1] + hyper["guidance_scale"] * (p.eps[1:] - p.eps[:1])
    p = prior.schedule.predict(x[:1], t, eps=eps)
    return prior.schedule.mix(p.x0, p.eps, s)
