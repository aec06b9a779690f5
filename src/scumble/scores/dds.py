"""Delta Denoising Score (Hertz, Aberman & Cohen-Or 2023, arXiv:2304.07090, eq. 4)."""

from typing import Unpack

from scumble.core.prior import Prior
from scumble.scores.branches import Sides
from scumble.scores.weighted import WeightedDDSScore
from scumble.scores.weights import powers


class DDSScore(WeightedDDSScore):
    """alpha^p sigma^q (eps(x_t, target) - eps(ref_t, source)), both guided, with the same t and noise on both
    branches.

    `reference` (b, c, h, w) is the source's latent. With b = 1 and one source prompt it may stand against any
    number of targets that share its noise. Four evaluations, one batched call.
    """

    def __init__(
        self, prior: Prior, *, alpha_exp: float = 0.0, sigma_exp: float = 0.0, **sides: Unpack[Sides]
    ):
        super().__init__(prior, weigh=powers(alpha_exp, sigma_exp), **sides)
