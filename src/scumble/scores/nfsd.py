"""Noise-Free Score Distillation (Katzir et al. 2024, arXiv:2310.17590, eq. 9-10)."""

import torch

from scumble.core.noise import Noise
from scumble.core.prior import Panel, Prior, Row, Text
from scumble.core.types import Latent, Time
from scumble.scores.weights import powers


class NFSDScore:
    """alpha^p sigma^q (delta_D + w (eps(x_t, target) - eps(x_t, null))): SDS without the drawn noise.

    delta_D leads to the network's domain. Below `t_clean` it is eps(x_t, null), which is almost only this direction.
    Above, it is eps(x_t, null) - eps(x_t, bad), where `bad` is a prompt that describes bad pictures. Costs three
    evaluations in one batched call.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        target: Text,
        null: Text,
        bad: Text,
        guidance: float,
        t_clean: int = 200,
        alpha_exp: float = 0.0,
        sigma_exp: float = 0.0,
    ):
        self._rows: dict[str, Row] = {name: (name, "text") for name in ("null", "target", "bad")}
        texts = {"null": null, "target": target, "bad": bad}
        self._prior = prior
        self._panel = Panel({row: texts[name] for name, row in self._rows.items()})
        self._guidance, self._t_clean = guidance, t_clean
        self._weigh = powers(alpha_exp, sigma_exp)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        schedule = self._prior.schedule
        x_t = schedule.mix(x, noise.like(x), t)
        p = self._panel.ask(self._prior, dict.fromkeys(self._rows.values(), x_t), t)
        null, target, bad = (p[row].eps for row in self._rows.values())
        clean = (t < self._t_clean).reshape(-1, 1, 1, 1).to(x.device)
        domain = torch.where(clean, null, null - bad)
        return self._weigh(schedule, t).edit.to(x) * (domain + self._guidance * (target - null))
