"""SR3: tables of noise levels, a training sample at a continuous level, and sampling under a picture."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.core.grids import pairs
from scumble.core.noise import Tape
from scumble.core.prior import clamped
from scumble.core.schedule import Schedule
from scumble.loops.ddpm import ddpm
from scumble.loops.sr3 import betas, hearing, levels, noisy

from .case import Case
from .chains import Trail
from .models import tiny_network

SMALLEST = 1e-20  # at which the published code clips a variance before its logarithm


@torch.no_grad()
def check_sr3(case: Case) -> None:
    if "settings" in case.hyper:
        _tables(case)
    elif "loss_type" in case.hyper:
        _lesson(case)
    else:
        _sampling(case)


def _stated(about: dict[str, Any]) -> Schedule:
    ends = about["linear_start"], about["linear_end"]
    return Schedule.from_betas(betas(about["schedule"], about["n_timestep"], *ends))


def _tables(case: Case) -> None:
    for k, about in enumerate(case.hyper["settings"]):
        schedule = _stated(about)
        table = betas(about["schedule"], about["n_timestep"], about["linear_start"], about["linear_end"])
        case.close(f"betas_{k}", table)
        case.close(f"sqrt_alphas_cumprod_prev_{k}", levels(schedule))
        if f"posterior_mean_coef1_{k}" not in case:
            continue
        moves = pairs(list(range(schedule.T)), schedule.clean)[::-1]
        steps = [schedule.posterior(t, s) for t, s in moves]
        case.close(f"posterior_mean_coef1_{k}", torch.cat([c_x0.flatten() for c_x0, _, _ in steps]))
        case.close(f"posterior_mean_coef2_{k}", torch.cat([c_xt.flatten() for _, c_xt, _ in steps]))
        # At the clean level ours has no noise at all; its stand-in for guidance is not recorded.
        log = torch.cat([std.flatten() for _, _, std in steps]).square().clamp(min=SMALLEST).log()
        log[0] = torch.tensor(SMALLEST, dtype=log.dtype).log()
        case.close(f"posterior_log_variance_clipped_{k}", log)


def _network(case: Case, condition: Tensor | None) -> Any:
    """The tiny model that the case adds a condition to by its formula: it hears 1000 (1 - nu) as its time."""
    unet = tiny_network()

    def network(x: Tensor, nu: Tensor) -> Tensor:
        seen = x if condition is None else x + 0.5 * condition.roll(1, dims=1)
        return unet(seen, 1000 * (1 - nu))

    return network


def _lesson(case: Case) -> None:
    hyper, hr, eps = case.hyper, case["in_hr"], case["noise"]
    table, t, nu = levels(_stated(hyper)), int(case["in_t"]), case["in_nu"]
    case.close("sqrt_alphas_cumprod_prev", table)
    assert bool(((table[t] <= nu) & (nu <= table[t - 1])).all())
    level = nu.float()
    case.close("nu_float32", level[:, None])
    x = noisy(hr, level, eps)
    case.close("x_noisy", x)
    found = _network(case, case["in_sr"])(x, level)
    case.close("eps_pred", found)
    loss = {"l1": F.l1_loss, "l2": F.mse_loss}[hyper["loss_type"]]
    case.close("loss", loss(found, eps, reduction="sum"))
    case.close("loss_mean", loss(found, eps))


def _sampling(case: Case) -> None:
    hyper, schedule, heard = case.hyper, _stated(case.hyper), list[Tensor]()
    network = _network(case, case["in_sr"] if hyper["conditional"] else None)

    def listening(x: Tensor, nu: Tensor) -> Tensor:
        heard.append(nu[:, None])
        return network(x, nu)

    denoise, trail = hearing(listening, schedule), Trail()
    final = ddpm(
        clamped(denoise, schedule) if hyper["clip_denoised"] else denoise,
        case["x_start"],
        pairs(list(range(schedule.T)), schedule.clean),
        schedule,
        noise=Tape(case["noise"]),
        each=trail,
    )
    case.close("noise_levels", torch.stack(heard))
    case.close("x_traj", torch.stack(trail.x))
    case.close("final", final)
    case.close("returned_last_item", final[-1])  # a slip of the published code: ours returns all
