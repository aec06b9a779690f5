"""Score Distillation Sampling (Poole et al. 2022, arXiv:2209.14988, eq. 3)."""

from scumble.core.noise import Noise
from scumble.core.prior import Panel, Prior, Row, Text, guided_eps
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time


def weighted(grad: Latent, schedule: Schedule, t: Time, alpha_exp: float, sigma_exp: float) -> Latent:
    """alpha^p sigma^q grad."""
    if alpha_exp == sigma_exp == 0:
        return grad
    alpha, sigma = schedule.at(t)
    return (alpha**alpha_exp * sigma**sigma_exp).to(grad) * grad


class SDSScore:
    """alpha^p sigma^q (eps(x_t, target) - eps), guided. Two evaluations, one batched call."""

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
        rows: dict[Row, Text] = {("target", "null"): null, ("target", "text"): target}
        if guidance == 1:
            del rows["target", "null"]
        self._prior, self._panel, self._rows = prior, Panel(rows), tuple(rows)
        self._guidance, self._exponents = guidance, (alpha_exp, sigma_exp)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        schedule = self._prior.schedule
        eps = noise.like(x)
        x_t = schedule.mix(x, eps, t)
        p = self._panel.ask(self._prior, dict.fromkeys(self._rows, x_t), t)
        return weighted(guided_eps(p, "target", self._guidance) - eps, schedule, t, *self._exponents)
