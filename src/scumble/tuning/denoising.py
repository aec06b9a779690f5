"""The loss that diffusion models are trained with, on pictures of one's own (Ho et al. 2020, arXiv:2006.11239,
eq. 14).

    x_t = alpha_t x0 + sigma_t eps;    loss = mean |network(x_t, t, text) - what it should have said|^2

What the network says is eps, v, x0 or a velocity, as it was trained.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prior import Prior, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time

APART = 2654435761  # 2^32 by the golden ratio: the draws of neighbouring seeds begin far from each other


def draws(seed: int, step: int, rows: int) -> Noise:
    """The draws of one step of a training, a generator per row: a training that goes on need not know earlier ones."""
    return Noise((seed * APART + step * rows) % 2**32, rows)  # a generator of the CPU reads 32 bits


def cycled(n: int, step: int, rows: int) -> list[int]:
    """Which of n pictures the rows of a step show: in turn."""
    return [(step * rows + row) % n for row in range(rows)]


def times(schedule: Schedule, noise: Noise, rows: int) -> Time:
    """Times drawn uniformly from all that the network knows."""
    if schedule.abar is None:  # a flow has no noise to remove at 0
        return noise.times(1, schedule.T + 1, rows).double()
    return noise.times(0, schedule.T, rows)


def said(schedule: Schedule, x0: Latent, eps: Latent, t: Time) -> Tensor:
    """What the network says of a state whose two ends are x0 and eps, in the terms that it was trained in."""
    if schedule.prediction == "v":  # Salimans & Ho 2022
        alpha, sigma = (each.to(x0) for each in schedule.at(t))
        return alpha * eps - sigma * x0
    return {"eps": eps, "x0": x0, "flow": eps - x0}[schedule.prediction]


def denoising(prior: Prior, x0: Latent, text: Text, noise: Noise, schedule: Schedule | None = None) -> Tensor:
    """The loss of every row (b,): clean latents x0 (b, c, h, w), one text or one each; draws times, then noise."""
    schedule = schedule or prior.schedule
    t = times(schedule, noise, len(x0))
    eps = noise.like(x0)
    p = prior.predict(schedule.mix(x0, eps, t), t, text.expand(len(x0)))
    miss = said(schedule, p.x0, p.eps, t) - said(schedule, x0, eps, t)
    return miss.square().flatten(1).mean(1)


def rows_of(latents: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
    """Of latents (1, c, h, w) each, those that the rows show, one below the other: (rows, c, h, w)."""
    return torch.cat([latents[row] for row in rows])
