"""Score Distillation Sampling (Poole et al. 2022, arXiv:2209.14988, eq. 3)."""

from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.prior import Prior, Text
from scumble.core.types import Latent, Time
from scumble.scores.weights import powers


class SDSScore:
    """alpha^p sigma^q (eps(x_t, target) - eps), with guidance. Costs two evaluations in one batched call."""

    def __init__(
        self,
        prior: Prior,
        *,
        target: Text,
        null: Text,
        guidance: float,
        alpha_exp: float = 0.0,
        sigma_exp: float = 0.0,
    ):
        self._schedule, self._denoise = prior.schedule, guide(prior, target, null, guidance)
        self._weigh = powers(alpha_exp, sigma_exp)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        eps = noise.like(x)
        p = self._denoise(self._schedule.mix(x, eps, t), t, None)
        return self._weigh(self._schedule, t).edit.to(x) * (p.eps - eps)
