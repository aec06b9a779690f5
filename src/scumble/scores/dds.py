"""Delta Denoising Score (Hertz, Aberman & Cohen-Or 2023, arXiv:2304.07090, eq. 4).

    eps(x_t, target) - eps(z_t, source),    x_t = alpha_t x + sigma_t eps,  z_t = alpha_t z + sigma_t eps

The second prediction estimates the network's error at (t, eps) for any picture. SDS keeps this error in its gradient,
which blurs. Here it cancels as far as it is the same for both predictions.
"""

from typing import Unpack

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.types import Latent, Time
from scumble.scores.branches import Branches, Sides, Source
from scumble.scores.weights import powers


class DDSScore:
    """alpha_t^p sigma_t^q (eps(x_t, target) - eps(z_t, source)), both with guidance.

    `reference` (b, c, h, w) is z, the source latent. One reference with one source prompt can serve any number of
    targets, which then share its time and noise. Costs four evaluations in one batched call.
    """

    def __init__(
        self, prior: Prior, *, alpha_exp: float = 0.0, sigma_exp: float = 0.0, **sides: Unpack[Sides]
    ):
        self.branches = Branches(prior, **sides)
        self._weight = powers(alpha_exp, sigma_exp)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        z_t, x_t = self.branches.noised(x, t, noise)  # the same t and eps
        weight = self._weight(self.branches.prior.schedule, t).edit
        return weight.to(x) * self.delta(z_t, x_t, t)

    def delta(self, z_t: Source, x_t: Latent, t: Time) -> Latent:
        """eps(x_t, target) - eps(z_t, source)."""
        source, target = self.branches(z_t, x_t, t)
        return target.eps - source.eps
