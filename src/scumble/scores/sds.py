"""Score Distillation Sampling (Poole et al. 2022, arXiv:2209.14988, eq. 3)."""

from scumble.core.noise import Noise
from scumble.core.prior import Panel, Prior, Row, Text, guided
from scumble.core.types import Latent, Time
from scumble.scores.weights import powers


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
        self._guidance, self._weigh = guidance, powers(alpha_exp, sigma_exp)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        schedule = self._prior.schedule
        eps = noise.like(x)
        x_t = schedule.mix(x, eps, t)
        p = self._panel.ask(self._prior, dict.fromkeys(self._rows, x_t), t)
        return self._weigh(schedule, t).edit.to(x) * (guided(p, "target", self._guidance).eps - eps)
