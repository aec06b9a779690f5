"""DDPM and DDIM: the loops alone, against guided-diffusion, diffusers, null-text code and DiffusionCLIP."""

import torch
from torch import Tensor

from scumble.core.grids import pairs, upward
from scumble.core.guidance import guide
from scumble.core.noise import Tape
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, clamped
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.loops.invert import invert

from .case import Case, same
from .models import kept, listen, tiny_ddpm, tiny_sd


class Trail:
    """Keeps x and x0 of every step of a loop."""

    def __init__(self) -> None:
        self.x: list[Tensor] = []
        self.x0: list[Tensor] = []

    def __call__(self, x_s: Tensor, p: Prediction, t: float, s: float) -> Tensor:
        self.x.append(x_s)
        self.x0.append(p.x0)
        return x_s


def check_ddpm(case: Case) -> None:
    denoise, moves, schedule, x = _adm(case)
    trail = Trail()
    # The last recorded draw is made at the clean level and unused: ours makes none there.
    noise = Tape(case["noise"][: len(moves) - 1])
    final = ddpm(denoise, x, moves, schedule, noise=noise, kind=case.hyper["var_type"], each=trail)
    _compare_adm(case, trail, final)


def check_ddim(case: Case) -> None:
    if "direction" in case.hyper:
        (_adm_reverse if case.hyper["direction"] == "image to noise" else _adm_sample)(case)
    elif case.hyper.get("convention") == "source-time":
        _invert_source_time(case)
    elif case.hyper.get("convention") == "target-time":
        _invert_target_time(case)
    else:
        _sample(case)


def _adm(case: Case):
    """(denoiser, moves down, schedule, start) of a case from guided-diffusion."""
    prior, hyper = tiny_ddpm(case), case.hyper
    schedule = prior.schedule
    levels = kept(case, schedule.T)
    assert len(levels) == hyper["num_steps"]
    case.close("alphas_cumprod", schedule.abar[levels])
    moves = pairs(levels, schedule.clean)
    betas = torch.cat([schedule.forward(s, t)[1].flatten() ** 2 for t, s in reversed(moves)])
    case.close("betas", betas, case.tolerance("alphas_cumprod"))
    x = case["image" if hyper.get("direction") == "image to noise" else "x_start"]
    if "noise_start" in case:
        case.close("x_start", schedule.mix(case["image"], case["noise_start"], moves[0][0]))
    denoise = guide(prior, prior.embed([""] * len(x)), prior.embed([""] * len(x)), 1)
    return clamped(denoise, schedule) if hyper["clip_denoised"] else denoise, moves, schedule, x


def _compare_adm(case: Case, trail: Trail, final: Tensor) -> None:
    case.close("x_traj", torch.stack(trail.x))
    case.close("x0_traj", torch.stack(trail.x0))
    case.close("final", final)


@torch.no_grad()
def _adm_sample(case: Case) -> None:
    denoise, moves, schedule, x = _adm(case)
    trail, noise = Trail(), Tape(case["noise"])
    _compare_adm(
        case, trail, ddim(denoise, x, moves, schedule, eta=case.hyper["eta"], noise=noise, each=trail)
    )


@torch.no_grad()
def _adm_reverse(case: Case) -> None:
    denoise, moves, schedule, x = _adm(case)
    # The picture is taken to stand at the first kept level already, and the last move goes on to pure noise.
    up = [*upward(moves[:-1]), (moves[0][0], schedule.T)]
    trail = Trail()
    final = invert(denoise, x, up, schedule, told="source", each=trail)
    _compare_adm(case, trail, final)
    case.close("before_last", trail.x[-2], case.tolerance("x_traj"))


def _texts(case: Case, prior, names: tuple[str, str], prompts: list[str]):
    """The prompts' text, the same as the recorded one."""
    text = prior.embed(prompts)
    embeddings, ids = names
    if embeddings in case:
        case.close(embeddings, text.tokens, 1e-5)
    if ids in case:
        same(text.ids, case[ids], ids)
    return text


@torch.no_grad()
def _sample(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    schedule, x = prior.schedule, case["latents_T"]
    text = _texts(case, prior, ("text_embeddings", "token_ids"), case.prompts("prompt"))
    null = _texts(case, prior, ("negative_embeddings", "negative_token_ids"), case.prompts("negative_prompt"))
    moves = schedule.grid(hyper["num_steps"])
    same(torch.tensor([t for t, _ in moves]), case["timesteps"], "timesteps")
    calls, trail = listen(prior), Trail()
    w = max(hyper["guidance_scale"], 1)  # the pipeline has no guidance below 1
    denoise = guide(prior, text.expand(len(x)), null.expand(len(x)), w)
    noise = Tape(case["step_noise"]) if "step_noise" in case else None
    latents = ddim(denoise, x, moves, schedule, eta=hyper["eta"], noise=noise, each=trail)
    case.close("trajectory", torch.stack([x, *trail.x]))
    case.close("eps", torch.stack([out for _, out in calls]))
    case.close("latents_0", latents)
    case.close("image", prior.decode(latents))


@torch.no_grad()
def _invert_target_time(case: Case) -> None:
    denoise, prior, x = _inverting(case)
    schedule = prior.schedule
    moves = schedule.grid(case.hyper["num_steps"])
    same(torch.tensor([t for t, _ in reversed(moves)]), case["timesteps"], "timesteps")
    calls, trail, back = listen(prior), Trail(), Trail()
    latents = invert(denoise, x, upward(moves), schedule, told="target", each=trail)
    case.close("eps", torch.stack([out for _, out in calls]))
    case.close("trajectory", torch.stack([x, *trail.x]))
    case.close("trajectory_null_text_code", torch.stack([x, *trail.x]))
    case.close("latents_T", latents)
    ddim(denoise, case["latents_T"], moves, schedule, each=back)
    case.close("reconstruction_trajectory", torch.stack([case["latents_T"], *back.x]))


@torch.no_grad()
def _invert_source_time(case: Case) -> None:
    denoise, prior, x = _inverting(case)
    schedule, hyper = prior.schedule, case.hyper
    up, down = (_floored(hyper[n], hyper["t_0"]) for n in ("n_inv_step", "n_test_step"))
    same(torch.tensor(up), case["inversion_grid"], "inversion grid")
    same(torch.tensor(down[::-1]), case["generation_grid"], "generation grid")
    trail, back = Trail(), Trail()
    latents = invert(denoise, x, upward(pairs(up[1:], up[0])), schedule, told="source", each=trail)
    case.close("trajectory", torch.stack([x, *trail.x]))
    case.close("latents_T", latents)
    ddim(denoise, case["latents_T"], pairs(down, schedule.clean), schedule, eta=hyper["eta"], each=back)
    case.close("reconstruction_trajectory", torch.stack([case["latents_T"], *back.x]))


def _floored(n: int, t_0: int) -> list[int]:
    """DiffusionCLIP's grid: n values from 0 to t_0, truncated."""
    return [int(k / (n - 1) * t_0) for k in range(n)] if n > 1 else [0]


def _inverting(case: Case) -> tuple[Denoiser, object, Tensor]:
    prior, x = tiny_sd(case), case["latents_0"]
    text = _texts(case, prior, ("text_embeddings", "token_ids"), case.prompts("prompt", "source"))
    null = prior.embed(case.prompts("negative_prompt"))
    w = case.hyper["guidance_scale"]
    return guide(prior, text.expand(len(x)), null.expand(len(x)), w), prior, x
