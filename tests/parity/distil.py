"""PDS, IDS, CDS and edit-friendly DDS: the scores step by step, and the methods that follow them."""

import re
from typing import Any

import torch
from torch import Tensor

from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.pds import PDS
from scumble.scores.pds import PDSScore, posterior

from .case import Case, same
from .models import tiny_sd


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
        image=torch.zeros(len(draws[-1]), 3, 128, 128),
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
        ours = torch.stack([weights.pull[0], weights.edit[0]]).flatten()
        torch.testing.assert_close(ours, torch.tensor(stated, dtype=torch.float64), atol=0, rtol=1e-4)
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
