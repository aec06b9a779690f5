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
from scumble.scores.branches import Branches
from scumble.scores.cds import CDSScore
from scumble.scores.ids import IDSScore
from scumble.scores.pds import PDSScore, posterior

from .case import Case, same
from .models import From, listen, tiny_sd


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


def follow(
    case: Case, method: Any, prior: Any, draws: list[list[Tensor]], states: Tensor, z: Tensor
) -> Tensor:
    """The method's states from the first recorded one on, from source latents z, with each step's draws."""
    prior.encode = lambda image, noise=None: z
    request = EditRequest(
        image=torch.zeros(len(z), 3, 128, 128),
        source=case.prompts("source"),
        target=case.prompts("target"),
        negative=case.prompts("negative", "negative_prompt", "null"),
        noise=Tape(draw for step in draws for draw in step),
        given={"parametrization": From(states[0])},
        keep=("trajectory",),
    )
    return torch.stack([states[0], *method(prior, request).kept["trajectory"]])


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
    error = case.rounded("grad")
    case.close("grad", torch.stack([score(x[k], t[k], Tape([noise[k]])) for k in range(n)]), error)
    both = [score.branches(*score.branches.noised(x[k], t[k], Tape([noise[k]])), t[k]) for k in range(n)]
    off = 10 * case.json["verified"]["max_abs_diff_eps_pred_float32"]
    for i, name in enumerate(("source", "target")):
        case.close(f"eps_pred_{name}", torch.stack([pair[i].eps for pair in both]), off)
    count = x[0].numel() if hyper["reduction"] == "mean" else 1
    grads = case["grad"]
    case.close("loss", 0.5 * (grads**2).sum((1, 2, 3, 4)) / count / b)
    case.close("dloss_dx", grads / count / b, error / count / b)

    rate = re.search(r"([\d.]+)\*grad", hyper["update_between_evaluations"])
    if rate:
        settings = {"t_low": int(t.min()), "t_high": int(t.max()) + 1, "guidance": guidance, "stride": stride}
        method = PDS(steps=n, rate=float(rate[1]), compat="authors", **settings)
        path = follow(case, method, prior, list(zip(t, noise, strict=True)), x, z)
        bound = 10 * case.json["verified"]["max_abs_diff_of_next_x_target_from_update"]
        case.close("x_target", path[:-1], max(bound, error))


def settings(case: Case, shape: torch.Size) -> tuple[dict[str, Any], float]:
    """What the notebook's descendants share, and the factor between their gradients and ours."""
    hyper, (H, W) = case.hyper, shape[-2:]
    assert hyper["optimizer"] == "SGD, no momentum"
    gain = hyper["w_dds"] * hyper["loss_multiplier"] / (H * W)
    times = {"t_low": hyper["t_low"], "t_high": hyper["t_high_exclusive"]}
    shared = {"steps": hyper["iterations"], "rate": hyper["lr"] * gain, "guidance": hyper["guidance_scale"]}
    return shared | times, gain


def contrast(case: Case, gain: float) -> dict[str, Any]:
    """The contrastive term of the case, as `CDSScore` and `IDSScore` take it; none where the case has none."""
    hyper = case.hyper
    if not hyper["cut_loss"]:
        return {}
    assert hyper["diagonal_fill"] == cds.SAME_PLACE
    looks = {"contrast": hyper["w_cut"] / gain, "sizes": tuple(hyper["patch_sizes"])}
    return looks | {"patches": hyper["n_patches"], "temperature": hyper["nce_temperature"]}


def drawn(case: Case) -> list[list[Tensor]]:
    """What each step drew: its time, its noise, and the places compared in every layer, size by size."""
    steps = [[t, eps] for t, eps in zip(case["t"], case["eps"], strict=True)]
    if "patch_ids" in case:
        for step, places in zip(steps, case["patch_ids"].flatten(1, 2), strict=True):
            step += [ids[ids >= 0][None].long() for ids in places]
    return steps


def check_gradients(case: Case, Score: Any, looks: dict[str, Any], gain: float, **sides: Any) -> None:
    """The gradient at every recorded state: of the prompts, of the contrastive term, and of both."""
    z, draws = case["z"], drawn(case)

    def gradients(**looks: Any) -> Tensor:
        score = Score(**sides, **looks)
        return gain * torch.stack([score(z[k], t, Tape(rest)) for k, (t, *rest) in enumerate(draws)])

    plain = gradients(**{**looks, "contrast": 0.0})
    case.close("grad_dds", plain, case.rounded("grad_dds"))
    if not looks:
        case.close("grad_total", plain, case.rounded("grad_total"))
        return
    losses: list[Tensor] = []

    def watched(*given: Any) -> Tensor:
        losses.append(patch_nce(*given))
        return losses[-1]

    patch_nce = cds.patch_nce
    with patch.object(cds, "patch_nce", watched):
        total = gradients(**looks)
    case.close("grad_cut", total - plain, case.rounded("grad_cut"))
    case.close("grad_total", total, case.rounded("grad_total"))
    layers = torch.stack(losses).reshape(len(draws), -1, len(looks["sizes"]), z.shape[1]).sum((2, 3))
    case.close("cut_loss_layer", layers)
    case.close("cut_loss", layers.sum(1), case.tolerance("cut_loss_layer") * layers.shape[1])


def check_path(case: Case, method: Any, prior: Any) -> None:
    """The method's states from the first recorded one on, and one step from each of them."""
    z, lr = case["z"], case.hyper["lr"]
    case.close("z", follow(case, method, prior, drawn(case), z, case["z_source"]))
    off = (z[:-1] - lr * case["grad_total"] - z[1:]).abs().max()
    assert float(off) <= 10 * case.json["tolerance"]["single_step_max_abs"]


def named(looks: dict[str, Any]) -> dict[str, Any]:
    """The contrastive term as the methods take it."""
    if not looks:
        return {}
    rest = {name: value for name, value in looks.items() if name != "sizes"}
    return rest | {"patch_sizes": ",".join(map(str, looks["sizes"]))}


@torch.no_grad()
def check_ids(case: Case) -> None:
    prior, hyper, z, z_source = tiny_sd(case), case.hyper, case["z"], case["z_source"]
    b, N = len(z_source), hyper["fpr_steps"]
    shared, gain = settings(case, z_source.shape)
    w, looks = hyper["guidance_scale"], contrast(case, gain)
    inner = hyper["fpr_scale_lambda"] / z_source[0].numel() ** 0.5
    sides = {"reference": z_source, "guidance": w, **texts(case, prior, b)}
    check_gradients(case, IDSScore, looks, gain, prior=prior, repeats=N, rate=inner, **sides)

    calls = listen(prior)
    score = IDSScore(prior, repeats=N, rate=inner, **sides)
    found: dict[str, list[Tensor]] = {}
    for k, (t, *rest) in enumerate(drawn(case)):
        calls.clear()
        score(z[k], t, Tape(rest))
        *corrections, (x, out) = calls
        starts = torch.stack([x_t[-b:].detach() for x_t, _ in corrections])
        null, text = torch.stack([said.detach() for _, said in corrections]).unflatten(1, (2, b)).unbind(1)
        cleans = [
            prior.schedule.predict(x_t, t, eps=eps).x0
            for x_t, eps in zip(starts, null + w * (text - null), strict=True)
        ]
        null, text = out.unflatten(0, (2, 2, b))
        source, target = null + w * (text - null)
        for name, value in {
            "fpr_z_t": starts,
            "fpr_z0": torch.stack(cleans),
            "fpr_norm": (z_source - torch.stack(cleans)).flatten(1).norm(dim=1),
            "z_t_star": x[:b],
            "eps_star": prior.schedule.predict(x[:b], t, x0=z_source).eps,
            "eps_pred_source": source,
            "eps_pred_target": target,
        }.items():
            found.setdefault(name, []).append(value)
    error = case.rounded("grad_dds") / gain
    for name, values in found.items():
        case.close(name, torch.stack(values), error if name.startswith("eps_pred") else None)
    check_path(case, IDS(inner_steps=N, inner_rate=inner, **named(looks), **shared), prior)


@torch.no_grad()
def check_cds(case: Case) -> None:
    prior, hyper, z = tiny_sd(case), case.hyper, case["z"]
    assert hyper["cut_loss"]
    shared, gain = settings(case, z.shape)
    looks = contrast(case, gain)
    sides = {"reference": case["z_source"], "guidance": hyper["guidance_scale"]}
    sides |= texts(case, prior, z.shape[1])
    check_gradients(case, CDSScore, looks, gain, prior=prior, **sides)
    branches = Branches(prior, **sides)
    both = [branches(*branches.noised(z[k], t, Tape([eps])), t) for k, (t, eps, *_) in enumerate(drawn(case))]
    for i, name in enumerate(("source", "target")):
        predicted = torch.stack([pair[i].eps for pair in both])
        case.close(f"eps_pred_{name}", predicted, case.rounded("grad_dds") / gain)
    check_path(case, CDS(**named(looks), **shared), prior)
