"""SR3's noise levels (Saharia et al. 2021, arXiv:2104.07636, section 2): published tables, continuous levels.

The network hears sqrt(abar) itself, not a step's number, so sampling may use any table of betas, of any length: the
loop is `ddpm` with a denoiser that hears the level and the up-sampled picture.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser
from scumble.core.schedule import Schedule
from scumble.core.types import Image, Time

Table = Literal["linear", "quad", "warmup10", "warmup50", "const", "jsd", "cosine"]

EpsNetwork = Callable[[Image, Float[Tensor, " b"]], Image]
"""(x_t, sqrt(abar)) -> eps."""


def betas(kind: Table, T: int, start: float = 1e-6, end: float = 1e-2) -> Float[Tensor, " T"]:
    """The published code's tables, float64: betas of T steps; `start` and `end` where the kind has them.

    Raises InputError for a kind that it does not have.
    """
    if kind == "linear":
        return torch.linspace(start, end, T, dtype=torch.float64)
    if kind == "quad":
        return torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2
    if kind in ("warmup10", "warmup50"):
        rising = int(T * int(kind[-2:]) / 100)
        table = torch.full((T,), end, dtype=torch.float64)
        table[:rising] = torch.linspace(start, end, rising, dtype=torch.float64)
        return table
    if kind == "const":
        return torch.full((T,), end, dtype=torch.float64)
    if kind == "jsd":
        return 1 / torch.arange(T, 0, -1, dtype=torch.float64)
    if kind == "cosine":
        angle = (torch.arange(T + 1, dtype=torch.float64) / T + 0.008) / 1.008 * math.pi / 2
        abar = angle.cos() ** 2
        return (1 - abar[1:] / abar[:-1]).clamp(max=0.999)
    raise InputError(f"schedule: {kind!r}; known are linear, quad, warmup10, warmup50, const, jsd and cosine")


def levels(schedule: Schedule) -> Float[Tensor, " T1"]:
    """sqrt(abar) of the levels -1..T-1 of a chain: T + 1 numbers, from 1 down."""
    assert schedule.abar is not None
    return torch.cat([schedule.abar.new_ones(1), schedule.abar]).sqrt()


def noisy(x0: Image, level: Float[Tensor, " b"], eps: Image) -> Image:
    """nu x0 + sqrt(1 - nu^2) eps, at a continuous level nu = sqrt(abar) of every row."""
    nu = level.to(x0)[:, None, None, None]
    return nu * x0 + (1 - nu**2).clamp(min=0).sqrt() * eps


def hearing(network: EpsNetwork, schedule: Schedule) -> Denoiser:
    """A denoiser whose network hears sqrt(abar) of the level instead of a step's number."""

    def denoise(x_t: Image, t: Time, at: Time | None = None) -> Prediction:
        level = schedule.at(t)[0].flatten().float().to(x_t.device)
        return schedule.predict(x_t, t if at is None else at, eps=network(x_t, level))

    return denoise
