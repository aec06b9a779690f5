"""ILVR, RePaint and Blended Latent Diffusion: sampling under a reference or a mask, against the authors' code."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scumble.core.grids import Jump, jumps, ordered, pairs
from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.core.types import Pair
from scumble.loops.lowpass import low_pass, resize
from scumble.methods.blended_latent_diffusion import BlendedLatentDiffusion
from scumble.methods.ilvr import ILVR
from scumble.methods.repaint import RePaint

from .case import Case, same
from .edits import picture
from .models import kept, tiny_ddpm, tiny_sd
from .paths import stated

TABLE = 1e-12  # of coefficients, which are float64 on both sides


def _adm(case: Case) -> Any:
    """The tiny pixel model on the respaced chain of the case."""
    prior = tiny_ddpm(case)
    levels = kept(case, prior.schedule.T)
    assert len(levels) == case.hyper["num_steps"]
    case.close("alphas_cumprod", prior.schedule.abar[levels], TABLE)
    if "betas" in case:
        moves = pairs(levels, prior.schedule.clean)
        betas = torch.cat([prior.schedule.forward(s, t)[1].flatten() ** 2 for t, s in reversed(moves)])
        case.close("betas", betas, TABLE)
    prior.schedule = stated(prior.schedule, torch.tensor(levels[::-1]))
    return prior


@torch.no_grad()
def check_ilvr(case: Case) -> None:
    (_ilvr if "range_t" in case.hyper else _resizer)(case)


def _resizer(case: Case) -> None:
    x = case["in_x"]
    for factor in case.hyper["down_N"]:
        case.close(f"down_{factor}", resize(x, factor, down=True))
        case.close(f"lowpass_{factor}", low_pass(x, factor))
        case.close(f"lowpass_twice_{factor}", low_pass(low_pass(x, factor), factor))


def _ilvr(case: Case) -> None:
    prior, hyper, y = _adm(case), case.hyper, case["ref_img"]
    n = hyper["num_steps"]
    draws = [case["x_start"]]
    for k in range(n):  # the last ancestral draw is recorded and unused: ours makes none there
        draws += [*case["noise"][k : k + 1][: n - 1 - k], *case["noise_ref"][k : k + 1]]
    method = ILVR(
        steps=n,
        factor=hyper["down_N"],
        stop=hyper["range_t"] / n,
        variance=hyper["var_type"],
        clamp=hyper["clip_denoised"],
        compat="authors",
    )
    cleans: list[Tensor] = []
    request = EditRequest(image=torch.zeros_like(y), reference=y, noise=Tape(draws), keep=("trajectory",))
    edit = method(prior, request, lambda step: cleans.append(step.preview()))
    case.close("x_traj", torch.stack(edit.kept["trajectory"]))
    case.close("x0_traj", torch.stack(cleans))
    case.close("final", edit.latent)


def _jumps(told: dict[str, Any]) -> list[int]:
    """The order of levels that published parameters ask for."""
    names = (
        ("jump_length", "jump_n_sample"),
        ("jump2_length", "jump2_n_sample"),
        ("jump3_length", "jump3_n_sample"),
    )
    kinds = [Jump(told.get(length, 1), told.get(samples, 1)) for length, samples in names]
    return jumps(told["t_T"], *kinds, singles=told.get("n_sample", 1), start=told.get("start_resampling"))


@dataclass(frozen=True, kw_only=True)
class AsTold(RePaint):
    """In the order of the case, which may have jumps within jumps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "order", [])

    def _moves(self, schedule: Schedule) -> list[Pair]:
        return ordered(schedule.grid(self.steps), self.order)


@torch.no_grad()
def check_repaint(case: Case) -> None:
    if "settings" in case.hyper:
        for i, told in enumerate(case.hyper["settings"]):
            same(torch.tensor(_jumps(told)), case[f"times_{i}"], f"times {i}")
        return
    prior, hyper, z = _adm(case), case.hyper, case["gt"]
    told = hyper["schedule_jump_params"]
    order = _jumps(told)
    same(torch.tensor(order), case["times"], "times")
    down = [b < a for a, b in pairwise(order)]
    ancestral, undo, paste = (
        iter(case["noise_ancestral"]),
        iter(case["noise_undo"] if "noise_undo" in case.tensors else ()),  # where nothing goes up again
        iter(case["noise_paste"]),
    )
    draws = [case["x_start"]]
    for k, falls in enumerate(down):  # ours draws no noise for the last step
        here = [paste, ancestral] if falls and k else [ancestral] if falls else [undo]
        draws += [next(source) for source in here]
    keep = case["mask_keep"]
    assert torch.equal(keep, keep[:, :1].expand_as(keep)), "the channels' masks differ"
    settings = {"steps": told["t_T"], "variance": hyper["var_type"], "clamp": hyper["clip_denoised"]}
    request = EditRequest(image=z, mask=1 - keep[:, :1], noise=Tape(draws[:-1]), keep=("trajectory",))
    cleans: list[Tensor] = []
    method = AsTold(**settings, compat="authors")
    method.order.extend(order)
    edit = method(prior, request, lambda step: cleans.append(step.preview()))
    states = [x for x, falls in zip(edit.kept["trajectory"], down, strict=True) if falls]
    case.close("x_traj", torch.stack(states)[:: hyper.get("x_traj_every", 1)])
    case.close("x0_final", cleans[-1])
    case.close("final", edit.latent)
    if told.keys() <= {"t_T", "n_sample", "jump_length", "jump_n_sample"} and told.get("n_sample", 1) == 1:
        assert RePaint(
            steps=told["t_T"], jump_length=told["jump_length"], jump_samples=told["jump_n_sample"]
        )._moves(prior.schedule) == method._moves(prior.schedule)


@torch.no_grad()
def check_blended_latent_diffusion(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    image = picture(case["image"])
    pipeline = "strength" in hyper
    prompts, negatives = case.prompts("prompt"), case.prompts("negative_prompt")
    rows = len(case["latents_clean"])
    texts = {"text_embeddings": prior.embed(prompts), "negative_embeddings": prior.embed(negatives)}
    for name, text in texts.items():
        case.close(name, text.tokens.expand_as(case[name]), 1e-5)
    ids = torch.cat([text.ids for text in texts.values()])
    same(ids[: len(case["token_ids"])], case["token_ids"], "token_ids")
    clean = prior.encode(image, Tape([case["vae_noise"]])) if pipeline else prior.encode(image)
    case.close("latents_clean", clean.expand(rows, -1, -1, -1))
    white = (case["mask_image"].float() / 255 >= 0.5).float().reshape(-1, 1, *image.shape[-2:])
    # The pipeline takes the first pixel of every block, the script the one in the middle.
    mask = interpolate(white, clean.shape[-2:], mode="nearest" if pipeline else "nearest-exact")
    same(mask, case["mask_latent"], "mask_latent")

    if pipeline:
        case.unused("masked_image_vae_noise")
        draws = [case["vae_noise"], case["noise"]]
        share = {"strength": hyper["strength"], "compat": "pipeline"}
    else:
        draws = [case["latents_T"], *case["blend_noise"]]
        share = {"strength": 1 - hyper["blending_percentage"], "compat": "authors"}
    times: list[float] = []
    method = BlendedLatentDiffusion(
        steps=hyper["num_steps"], guidance=hyper["guidance_scale"], eta=hyper["eta"], **share
    )
    request = EditRequest(
        image=image, target=prompts, negative=negatives, mask=mask, noise=Tape(draws), keep=("trajectory",)
    )
    edit = method(prior, request, lambda step: times.append(step.t))
    same(torch.tensor(times), case["timesteps"], "timesteps")
    states = edit.kept["trajectory"]
    start = method._start(prior.schedule, clean, draws[pipeline], [(times[0], 0)])
    case.close("trajectory", torch.stack([start.expand_as(states[0]), *states]))
    case.close("latents_0", edit.latent)
    case.close("image_edit", edit.raw)
