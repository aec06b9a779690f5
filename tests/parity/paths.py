"""Edit-friendly inversion, its twin among the descents, and FlowEdit: whole paths from the source to the edit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from scumble.core.grids import pairs
from scumble.core.noise import Tape
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.core.types import Pair
from scumble.loops.descend import EditFriendly as EditFriendlyPlan
from scumble.loops.descend import descend
from scumble.methods.edit_friendly import EditFriendly
from scumble.methods.flowedit import FlowEdit
from scumble.priors._identity import IdentityCodec
from scumble.scores.dds import DDSScore

from .case import Case, same
from .distil import texts
from .models import listen, tiny_sd


@dataclass(frozen=True, eq=False)
class Stated(Schedule):
    """A schedule whose grid is the case's, whatever is asked for."""

    moves: tuple[Pair, ...] = ()

    def grid(self, steps: int | str, *, spacing: Any = None) -> list[Pair]:
        return list(self.moves)


def stated(schedule: Schedule, times: Tensor) -> Stated:
    """The schedule with a grid of the given times, descending, on to the clean level."""
    fields = {name: getattr(schedule, name) for name in Schedule.__dataclass_fields__}
    return Stated(**fields, moves=tuple(pairs(times.tolist()[::-1], schedule.clean)))


@torch.no_grad()
def check_edit_friendly(case: Case) -> None:
    prior, hyper, x0, noise = tiny_sd(case), case.hyper, case["x0"], case["noise"]
    schedule, n, b = prior.schedule, hyper["num_inference_steps"], len(x0)
    grid = schedule.grid(n)
    same(torch.tensor([t for t, _ in grid]), case["timesteps"], "timesteps")
    levels = [x0, *(schedule.mix(x0, eps, t) for eps, (t, _) in zip(noise, reversed(grid), strict=True))]
    levels = torch.stack(levels)
    case.close("x_t", levels.reshape(case["x_t"].shape))
    targets = case.prompts("target")
    for name in ("null", "source", "target"):
        text = prior.embed({"null": [""], "source": case.prompts("source"), "target": targets}[name])
        case.close(f"emb_{name}", text.tokens.expand_as(case[f"emb_{name}"]), 1e-5)
    prior.encode = lambda image, noise=None: x0

    def replay(target: str, guidance: float, skip: int) -> tuple[Tensor, list[Tensor]]:
        """The states, the start first, and the noise maps of the levels passed, times their spread."""
        method = EditFriendly(
            steps=n,
            strength=(n - skip) / n,
            guidance=guidance,
            source_guidance=hyper["cfg_source"],
            eta=hyper["eta"],
            compat="authors",
        )
        request = EditRequest(
            image=torch.zeros(b, 3, 128, 128),
            source=case.prompts("source"),
            target=target,
            noise=Tape(noise[: n - skip]),
            keep=("trajectory", "noise_maps"),
        )
        kept = method(prior, request).kept
        return torch.stack([levels[n - skip], *kept["trajectory"]]), kept["noise_maps"]

    states, added = replay(case.prompts("source"), hyper["cfg_source"], 0)
    case.close("reconstruction", states)
    maps = [
        rest / schedule.ddim(t, s, hyper["eta"])[1].to(rest) for rest, (t, s) in zip(added, grid, strict=True)
    ]
    maps = torch.stack([0 * maps[-1], *maps[-2::-1]])  # the released code drops the last one
    case.close("z_maps", maps.reshape(case["z_maps"].shape))
    edits = [replay(p, w, hyper["skip"])[0] for p, w in zip(targets, hyper["cfg_target"], strict=True)]
    case.close("edit", torch.cat(edits, dim=1))


@torch.no_grad()
def check_dds_ef(case: Case) -> None:
    """DDS with the steps of edit-friendly inversion."""
    prior, hyper, z = tiny_sd(case), case.hyper, case["z"]
    n, b = z[1:].shape[:2]
    if "source_image" in case:
        image = case["source_image"].reshape(-1, *case["source_image"].shape[-3:]).permute(0, 3, 1, 2)
        case.close("z_source", prior.encode(image / 127.5 - 1), 1e-5)
    times, schedule = case["t"], prior.schedule
    assert len(times) == hyper["num_iters"]
    score = DDSScore(
        prior,
        reference=case["z_source"],
        **texts(case, prior, b),
        guidance=hyper["guidance_scale_target"],
        source_guidance=hyper["guidance_scale_source"],
    )
    moves = pairs(times.tolist()[::-1], schedule.clean)
    states = [case["z_source"]]
    descend(
        score,
        states[0],
        EditFriendlyPlan(schedule, moves),
        Tape(case["eps"]),
        on_step=lambda k, n, t, x, clean: states.append(x),
    )
    case.close("z", torch.stack(states))
    now = [schedule.time(int(t), b) for t in times]
    grads = torch.stack([score(z[k], now[k], Tape([case["eps"][k]])) for k in range(n)])
    case.close("grad", grads, case.rounded("grad"))
    if "ef_edit" in case:
        _equal_to_edit_friendly(case, prior)


def _equal_to_edit_friendly(case: Case, prior: Any) -> None:
    """The method's own path over the same levels, with the same noises in the order of its draws."""
    hyper, x0, eps = case.hyper, case["z_source"], case["eps"]
    # The edit-friendly code ends on abar_0 and without its last noise map.
    moves = [*pairs(case["t"].tolist()[::-1], 0)]
    prior.schedule = replace(stated(prior.schedule, case["t"]), moves=tuple(moves))
    levels = [
        x0,
        *(prior.schedule.mix(x0, e, int(t)) for e, t in zip(eps.flip(0), case["t"].flip(0), strict=True)),
    ]
    case.close("ef_x_t", torch.stack(levels).reshape(case["ef_x_t"].shape), 1e-5)
    prior.encode = lambda image, noise=None: x0
    method = EditFriendly(
        steps=len(moves),
        strength=1,
        guidance=hyper["guidance_scale_target"],
        source_guidance=hyper["guidance_scale_source"],
        compat="authors",
    )
    request = EditRequest(
        image=torch.zeros(len(x0), 3, 128, 128),
        source=case.prompts("source"),
        target=case.prompts("target"),
        noise=Tape(eps.flip(0)),
        keep=("trajectory",),
    )
    path = method(prior, request).kept["trajectory"]
    bound = max(10 * case.json["verified"]["max_abs_diff_ef_edit_float64"], case.tolerance("z"))
    case.close("ef_edit", torch.stack([levels[-1], *path]), bound)


class Mixture(IdentityCodec):
    """The closed-form velocity of two Gaussians per channel that a case states, in the case's packing."""

    def __init__(self, case: Case):
        self.case, self.packed = case, "sigmas" in case
        self.card = Card(
            id="mixture",
            hash="",
            domain="Two Gaussians.",
            size=8,
            multiple=1,
            capabilities=frozenset({"text"}),
        )
        self.schedule = stated(Schedule.flow(), case["timesteps"].double())
        self.std = float(re.search(r"s0=([\d.]+)", case.json["model"])[1])
        self.asked: list[Tensor] = []

    def encode(self, image: Tensor, noise: Any = None) -> Tensor:
        return self.case["x_source"]

    def decode(self, latent: Tensor) -> Tensor:
        return latent[:, [0, 0, 0]]  # a latent need not have a picture's channels

    def pack(self, x: Tensor) -> Tensor:
        """The latent as the network is given it: (b, c, h, w), or tokens of 2 x 2 blocks."""
        return pixel_unshuffle(x, 2).flatten(2).transpose(1, 2) if self.packed else x

    def unpack(self, x: Tensor) -> Tensor:
        h, w = (side // 2 for side in self.case["x_source"].shape[-2:])
        return pixel_shuffle(x.transpose(1, 2).unflatten(2, (h, w)), 2) if self.packed else x

    def embed(self, prompts: Sequence[str], **extra: object) -> Text:
        """The condition tensors; a guidance that the network is given moves their means."""
        hyper, means = self.case.hyper, [self.case[f"cond_{prompt}"] for prompt in prompts]
        if self.packed:
            gain = float(re.search(r"1\+([\d.]+)\*\(g-1\)", self.case.json["model"])[1])
            given = {"source": hyper["src_guidance_scale"], "target": hyper["tar_guidance_scale"]}
            means = [m * (1 + gain * (given[p] - 1)) for m, p in zip(means, prompts, strict=True)]
        return Text(tokens=torch.cat(means), prompts=tuple(prompts))

    def predict(self, x_t: Tensor, t: Tensor, text: Text, at: Tensor | None = None) -> Prediction:
        self.asked.append(x_t)
        x = pixel_unshuffle(x_t, 2) if self.packed else x_t
        sigma = (t / self.schedule.T).to(x).reshape(-1, 1, 1, 1, 1)
        means = text.tokens[..., None, None].to(x)  # (b, c, 2, 1, 1)
        alpha, x = 1 - sigma, x[:, :, None]
        var = (alpha * self.std) ** 2 + sigma**2
        share = (-((x - alpha * means) ** 2) / (2 * var)).softmax(2)
        clean = (share * (means + alpha * self.std**2 / var * (x - alpha * means))).sum(2)
        v = (x[:, :, 0] - clean) / sigma[:, 0]
        return self.schedule.predict(x_t, t, flow=pixel_shuffle(v, 2) if self.packed else v)

    def parameters(self, part: str = "all") -> dict[str, Tensor]:
        return {}


@torch.no_grad()
def check_flowedit(case: Case) -> None:
    if "vp_timesteps" in case:
        _flowedit_on_a_chain(case)
    else:
        _flowedit_on_a_flow(case)


def _method(case: Case, **guidance: float) -> FlowEdit:
    hyper = case.hyper
    T = hyper["T_steps"]
    strength = min(hyper["n_max"] / T, 1)
    return FlowEdit(steps=T, strength=strength, n_avg=hyper["n_avg"], n_min=hyper["n_min"], **guidance)


def _guidance(case: Case) -> dict[str, float]:
    return {
        "guidance": case.hyper["tar_guidance_scale"],
        "source_guidance": case.hyper["src_guidance_scale"],
    }


def _flowedit_on_a_flow(case: Case) -> None:
    prior, x = Mixture(case), case["x_source"]
    draws = [*case["noise"].flatten(0, 1)]
    if "noise_last_phase" in case:
        draws.append(case["noise_last_phase"])
    # A network that is given its guidance is not guided again.
    method = _method(case, **({"guidance": 1, "source_guidance": 1} if prior.packed else _guidance(case)))
    request = EditRequest(
        image=torch.zeros(len(x), 3, *x.shape[-2:]),
        source="source",
        target="target",
        negative="target" if prior.packed else "negative",
        noise=Tape(prior.unpack(draw) for draw in draws),
        keep=("trajectory",),
    )
    edit = method(prior, request)
    error, b = case.tolerance("z_edit"), len(x)
    case.close("z_edit", edit.latent)
    pairs_asked = prior.asked[: len(case["noise"].flatten(0, 1))]
    source, target = ([rows[first:][:b] for rows in pairs_asked] for first in (-2 * b, -b))
    if prior.packed:
        case.close("sigmas", torch.cat([case["timesteps"] / 1000, torch.zeros(1)]), 1e-6)
        both = [rows for pair in zip(source, target, strict=True) for rows in pair]
        rest = [rows[-b:] for rows in prior.asked[len(pairs_asked) :]]
        case.close("velocity_inputs", torch.stack([prior.pack(rows) for rows in [*both, *rest]]), error)
    else:
        shape = case["z_source_t"].shape
        case.close("z_source_t", torch.stack(source).reshape(shape), error)
        case.close("z_target_t", torch.stack(target).reshape(shape), error)
        case.close("z_edit_states", torch.stack([x, *edit.kept["trajectory"]]), error)


def _flowedit_on_a_chain(case: Case) -> None:
    """The released loop walks in a flow's frame, which is 1 / (alpha + sigma) of the chain's."""
    prior, x, times = tiny_sd(case), case["x_source"], case["vp_timesteps"]
    texts(case, prior, len(x))
    prior.schedule = schedule = stated(prior.schedule, times)
    prior.encode = lambda image, noise=None: x
    calls = listen(prior)
    request = EditRequest(
        image=torch.zeros(len(x), 3, 128, 128),
        source=case.prompts("source"),
        target=case.prompts("target"),
        negative=case.prompts("negative", "null"),
        noise=Tape(case["noise"].flatten(0, 1)),
        keep=("trajectory",),
    )
    edit = _method(case, **_guidance(case))(prior, request)
    alpha, sigma = schedule.at(times)
    case.close("t", (sigma / (alpha + sigma)).flatten(), 1e-6)
    error = case.tolerance("z_edit")
    case.close("z_edit", edit.latent)
    ends = torch.tensor([s for _, s in schedule.moves[-case.hyper["n_max"] :]])
    scale = torch.stack(schedule.at(ends)).sum(0)[:, None].float()
    states = x + (torch.stack(edit.kept["trajectory"]) - x) / scale
    case.close("z_edit_states", torch.cat([x[None], states]), error)
    said = torch.stack([out.unflatten(0, (4, len(x)))[[0, 2, 1, 3]] for _, out in calls])
    case.close("network_eps", said.reshape(case["network_eps"].shape), error)
