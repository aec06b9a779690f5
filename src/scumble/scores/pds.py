"""Posterior Distillation Sampling (Koo, Park & Sung 2024, arXiv:2311.13831, eq. 12-14).

The stochastic latent of a step from t down to s is (x_s - mu(x_t)) / std, with mu and std of the posterior q(x_s |
x_t, x0). The score is the target's stochastic latent minus the source's, under shared noise at t and at s. The noise
at s cancels, which leaves

    chi (eps(x_t, target) - eps(ref_t, source)) + psi (x - ref)

with psi = (alpha_s - c_x0 - c_xt alpha_t) / std, chi = c_x0 sigma_t / (alpha_t std). With the coefficients of the step
itself, psi is 0, and PDS is DDS weighted by chi. The released code uses the coefficients of a single level for a
stride of two. This makes psi a pull to the source, which is strong at low noise.
"""

from typing import Unpack

from scumble.core.prior import Prior
from scumble.core.schedule import Schedule
from scumble.core.types import Time
from scumble.scores.branches import Sides
from scumble.scores.weighted import WeightedDDSScore
from scumble.scores.weights import Weighting, Weights


class PDSScore(WeightedDDSScore):
    """chi D + psi (x - ref). `stride`: the number of levels from t down to s. `released`: psi as in the released code,
    not 0.
    """

    def __init__(self, prior: Prior, *, stride: int = 2, released: bool = False, **sides: Unpack[Sides]):
        super().__init__(prior, weigh=posterior(stride, released=released), **sides)


def posterior(stride: int, *, released: bool = False) -> Weighting:
    """chi and psi of steps over `stride` levels; the last one ends next to the clean level."""

    def weigh(schedule: Schedule, t: Time) -> Weights:
        # At the clean level the posterior has no spread to divide by.
        s = (t - stride).clamp(min=0 if schedule.abar is not None else 1)
        alpha_t, sigma_t = schedule.at(t)
        alpha_s, sigma_s = schedule.at(s)
        # The jump that the coefficients are of; q(x_s | x_t, x0) of Ho et al. 2020, eq. 7.
        scale, std = schedule.forward(t - 1 if released else s, t)
        c_x0, c_xt = alpha_s * (std / sigma_t) ** 2, scale * (sigma_s / sigma_t) ** 2
        spread = std * sigma_s / sigma_t
        chi = c_x0 * sigma_t / (alpha_t * spread)
        return Weights(chi, (alpha_s - c_x0 - c_xt * alpha_t) / spread)

    return weigh
