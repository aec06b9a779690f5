"""DDS with weights over time, and with a pull to the source or a push away from it.

`dreamcatalyst` (arXiv:2407.11394) pulls to the source, more strongly at higher noise; without its InstructPix2Pix
network and FreeU. `drfs` (arXiv:2509.05342, eq. 6 and 8) pushes away as times fall, and looks ahead. It is defined on
a rectified flow, and transferred here to any schedule; its progress k / T is derived from the time, which is the same
on an even grid.
"""

import math
from typing import Unpack

import torch

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.scores.branches import Sides
from scumble.scores.dds import DDSScore
from scumble.scores.weights import Weighting, Weights


class WeightedDDSScore(DDSScore):
    """edit_t (eps(x_t + lead_t (x - z), target) - eps(z_t, source)) + pull_t (x - z), z the reference.

    Zero at x = z with equal prompts, whatever the weights. Otherwise as `DDSScore`.
    """

    def __init__(self, prior: Prior, *, weigh: Weighting, **sides: Unpack[Sides]):
        super().__init__(prior, **sides)
        self.weigh = weigh

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        weights = self.weigh(self.branches.prior.schedule, t)
        apart = x - self.branches.reference
        z_t, x_t = self.branches.noised(x, t, noise)
        if weights.lead is not None:
            x_t = x_t + weights.lead.to(x) * apart
        grad = weights.edit.to(x) * self.delta(z_t, x_t, t)
        return grad if weights.pull is None else grad + weights.pull.to(x) * apart


def dreamcatalyst(schedule: Schedule, t: Time) -> Weights:
    """edit 0.2 + 0.8 tau^(1/e), pull 0.075 e^tau, tau = t / T; made for times that fall from 0.9 T to 0.2 T."""
    tau = (t.double() / schedule.T).reshape(-1, 1, 1, 1)
    return Weights(0.2 + 0.8 * tau ** (1 / math.e), 0.075 * tau.exp())


def drfs(schedule: Schedule, t: Time) -> Weights:
    """(D - p (x - ref)) / (1 - tau), p sigma (x - ref) ahead; p = 1 - tau, tau the time of the rectified flow
    at the same noise-to-signal ratio.

    p = 0 throughout would be DDS weighted by 1 / (1 - tau), p = 1 throughout FlowEdit's step.
    """
    alpha, sigma = schedule.at(t)
    p = alpha / (alpha + sigma)
    return Weights(edit=1 / p, pull=-torch.ones_like(p), lead=p * sigma)
