"""PDS, IDS, CDS and edit-friendly DDS: the scores step by step, and the methods that follow them."""

import re
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.cds import CDS
from scumble.methods.ids import IDS
from scumble.methods.pds import PDS
from scumble.scores import cds
from scumble.scores.cds import CDSScore
from scumble.scores.pds import PDSScore, posterior

from .case import Case, same
from .models import listen, tiny_sd


def texts(case: Case, prior: Any, rows: int) -> dict[str, Any]:
    """The texts of the branches; equal to the recorded ones."""
    prompts = {
        "source": case.prompts("source"),
        "target": case.prompts("target"),
        "null": case.prompts("negative", "negative_prompt", "null"),
    }
    found = {name: prior.embed(given).expand(rows) for name, given in prompts.items()}
    for name, text in found.items():
        if f"emb_{name}" in case:
            case.close(f"emb_{name}", text.tokens.expand_as(case[f"emb_{name}"]), 1e-5)
    return found


def request(case: Case, draws: list[Tensor]) -> EditRequest:
    """The case's prompts, and the draws in the order they were made."""
    return EditRequest(
        image=torch.zeros(len(draws[1]), 3, 128, 128),
        source=case.prompts("source"),
        target=case.prompts("target"),
        negative=case.prompts("negative", "negative_prompt", "null"),
        noise=Tape(draws),
        keep=("trajectory",),
    )


@torch.no_grad()
def check_pds(case: Case) -> None:
    prior, hyper, z, x = tiny_sd(case), case.hyper, case["x_source"], case["x_target"]
    n, b = x.shape[:2]
    t, noise = case["t"], case["noise"]
    stride = prior.schedule.T // hyper["num_inference_steps"]
    same(t - stride, case["t_prev"], "t_prev")
    case.unused("noise_prev")  # it cancels
    rows, guidance = texts(case, prior, b), hyper["guidance_scale"]
    for k, stated in enumerate(case.json["verified"].get("psi_chi_per_evaluation", [])):
        weights = posterior(stride, released=True)(prior.schedule, t[k])
        ours = torch.stack([weights.pull.flatten(), weights.edit.flatten()])
        theirs = torch.tensor(stated, dtype=torch.float64).reshape(2, -1).expand_as(ours)
        torch.testing.assert_close(ours, theirs, atol=0, rtol=1e-4)
    score = PDSScore(prior, reference=z, **rows, guidance=guidance, stride=stride, released=True)
    case.close("grad", torch.stack([score(x[k], t[k], Tape([noise[k]])) for k in range(n)]))
    both = [score.branches(*score.branches.noised(x[k], t[k], Tape([noise[k]])), t[k]) for k in range(n)]
    error = 10 * case.json["verified"]["max_abs_diff_eps_pred_float32"]
    for i, name in enumerate(("source", "target")):
        case.close(f"eps_pred_{name}", torch.stack([pair[i].eps for pair in both]), error)
    count = x[0].numel() if hyper["reduction"] == "mean" else 1
    grads = case["grad"]
    case.close("loss", 0.5 * (grads**2).sum((1, 2, 3, 4)) / count / b)
    case.close("dloss_dx", grads / count / b, case.tolerance("grad") / count / b)

    rate = re.search(r"([\d.]+)\*grad", hyper["update_between_evaluations"])
    if rate:
        prior.encode = lambda image, noise=None: z
        draws = [draw for step in zip(t, noise, strict=True) for draw in step]
        settings = {"t_low": int(t.min()), "t_high": int(t.max()) + 1, "guidance": guidance, "stride": stride}
        method = PDS(steps=n, rate=float(rate[1]), compat="authors", **settings)
        path = method(prior, request(case, draws)).kept["trajectory"]
        bound = 10 * case.json["verified"]["max_abs_diff_of_next_x_target_from_update"]
        case.close("x_target", torch.stack([z, *path[:-1]]), max(bound, case.tolerance("grad")))


def settings(case: Case, shape: torch.Size) -> tuple[dict[str, Any], float]:
    """What the notebook's descendants share, and the factor between their gradients and ours."""
    hyper, (H, W) = case.hyper, shape[-2:]
    assert hyper["optimizer"] == "SGD, no momentum"
    gain = hyper["w_dds"] * hyper["loss_multiplier"] / (H * W)
    times = {"t_low": hyper["t_low"], "t_high": hyper["t_high_exclusive"]}
    shared = {"steps": hyper["iterations"], "rate": hyper["lr"] * gain, "guidance": hyper["guidance_scale"]}
    return shared | times, gain


def check_trajectory(case: Case, z: Tensor, lr: float) -> None:
    """Our path from the start, and one step from every recorded state."""
    case.close("z", z)
    off = (case["z"][:-1] - lr * case["grad_total"] - case["z"][1:]).abs().max()
    assert float(off) <= 10 * case.json["tolerance"]["single_step_max_abs"]


@torch.no_grad()
def check_ids(case: Case) -> None:
    prior, hyper, z_source = tiny_sd(case), case.hyper, case["z_source"]
    assert not hyper["cut_loss"]
    b, N = len(z_source), hyper["fpr_steps"]
    shared, gain = settings(case, z_source.shape)
    texts(case, prior, b)
    prior.encode = lambda image, noise=None: z_source
    calls = listen(prior)
    draws = [draw for step in zip(case["t"], case["eps"], strict=True) for draw in step]
    rate = hyper["fpr_scale_lambda"] / z_source[0].numel() ** 0.5
    method = IDS(inner_steps=N, inner_rate=rate, **shared)
    path = method(prior, request(case, draws)).kept["trajectory"]
    check_trajectory(case, torch.stack([z_source, *path]), hyper["lr"])

    found: dict[str, list[Tensor]] = {}
    w, schedule = hyper["guidance_scale"], prior.schedule
    for k, t in enumerate(case["t"]):
        *inner, (x, out) = calls[k * (N + 1) : (k + 1) * (N + 1)]
        starts = torch.stack([x_t[-b:].detach() for x_t, _ in inner])
        null, text = torch.stack([said.detach() for _, said in inner]).unflatten(1, (2, b)).unbind(1)
        cleans = [
            schedule.predict(x_t, t, eps=eps).x0
            for x_t, eps in zip(starts, null + w * (text - null), strict=True)
        ]
        null, text = out.unflatten(0, (2, 2, b))
        source, target = null + w * (text - null)
        star = x[:b]
        for name, value in {
            "fpr_z_t": starts,
            "fpr_z0": torch.stack(cleans),
            "fpr_norm": (z_source - torch.stack(cleans)).flatten(1).norm(dim=1),
            "z_t_star": star,
            "eps_star": schedule.predict(star, t, x0=z_source).eps,
            "eps_pred_source": source,
            "eps_pred_target": target,
            "grad_dds": gain * (target - source),
            "grad_total": gain * (target - source),
        }.items():
            found.setdefault(name, []).append(value)
    error = case.tolerance("grad_dds") / gain
    for name, values in found.items():
        case.close(name, torch.stack(values), error if name.startswith("eps_pred") else None)


@torch.no_grad()
def check_cds(case: Case) -> None:
    prior, hyper, z = tiny_sd(case), case.hyper, case["z"]
    assert hyper["cut_loss"]
    assert hyper["diagonal_fill"] == cds.SAME_PLACE
    n, b = z[1:].shape[:2]
    shared, gain = settings(case, z.shape)
    rows, sizes = texts(case, prior, b), hyper["patch_sizes"]
    places = case["patch_ids"].flatten(1, 2)  # (iterations, layers and sizes, slots)
    draws = [
        [t, eps, *(ids[ids >= 0][None].long() for ids in drawn)]
        for t, eps, drawn in zip(case["t"], case["eps"], places, strict=True)
    ]
    looks = {"contrast": hyper["w_cut"] / gain, "patches": hyper["n_patches"]}
    looks |= {"temperature": hyper["nce_temperature"]}

    calls = listen(prior)
    sides = {"reference": case["z_source"], "guidance": hyper["guidance_scale"], **rows}
    score = CDSScore(prior, sizes=sizes, **looks, **sides)
    dds = CDSScore(prior, sizes=sizes, **{**looks, "contrast": 0.0}, **sides)
    losses: list[Tensor] = []

    def watched(*given: Any) -> Tensor:
        losses.append(patch_nce(*given))
        return losses[-1]

    patch_nce = cds.patch_nce
    with patch.object(cds, "patch_nce", watched):
        totals = torch.stack([score(z[k], t, Tape(drawn)) for k, (t, *drawn) in enumerate(draws)])
    w = hyper["guidance_scale"]
    said = [
        [torch.cat([first, last]).detach() for (_, first), (_, last) in [calls[2 * k : 2 * k + 2]]]
        for k in range(n)
    ]
    null_s, null_t, source, target = torch.stack([s[0] for s in said]).unflatten(1, (4, b)).unbind(1)
    error = case.tolerance("grad_dds") / gain
    case.close("eps_pred_source", null_s + w * (source - null_s), error)
    case.close("eps_pred_target", null_t + w * (target - null_t), error)
    plain = torch.stack([dds(z[k], t, Tape(drawn)) for k, (t, *drawn) in enumerate(draws)])
    case.close("grad_dds", gain * plain)
    case.close("grad_cut", gain * (totals - plain))
    case.close("grad_total", gain * totals)
    layers = torch.stack(losses).reshape(n, -1, len(sizes), b).sum((2, 3))
    case.close("cut_loss_layer", layers)
    case.close("cut_loss", layers.sum(1), case.tolerance("cut_loss_layer") * layers.shape[1])

    prior.encode = lambda image, noise=None: case["z_source"]
    method = CDS(patch_sizes=",".join(map(str, sizes)), **looks, **shared)
    path = method(prior, request(case, [draw for step in draws for draw in step])).kept["trajectory"]
    check_trajectory(case, torch.stack([case["z_source"], *path]), hyper["lr"])
