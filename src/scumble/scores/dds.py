"""Delta Denoising Score (Hertz, Aberman & Cohen-Or 2023, arXiv:2304.07090, eq. 4)."""

from scumble.core.noise import Noise
from scumble.core.prior import Panel, Prior, Row, Text, guided_eps
from scumble.core.types import Latent, Time
from scumble.scores.sds import weighted


class DDSScore:
    """alpha^p sigma^q (eps(x_t, target) - eps(ref_t, source)), both guided, with the same t and noise on both
    branches.

    `reference` (b, c, h, w) is the source's latent. With b = 1 and one source prompt it may stand against any
    number of targets that share its noise. Four evaluations, one batched call.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        reference: Latent,
        source: Text,
        target: Text,
        null: Text,
        guidance: float,
        alpha_exp: float = 0.0,
        sigma_exp: float = 0.0,
    ):
        rows: dict[Row, Text] = {
            ("source", "null"): null.take(range(len(source))),
            ("target", "null"): null,
            ("source", "text"): source,
            ("target", "text"): target,
        }
        if guidance == 1:
            del rows["source", "null"], rows["target", "null"]
        self._prior, self._panel, self._rows = prior, Panel(rows), tuple(rows)
        self._reference = reference.expand(len(source), -1, -1, -1)
        self._guidance, self._exponents = guidance, (alpha_exp, sigma_exp)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        schedule, n = self._prior.schedule, len(self._reference)
        eps = noise.like(x)
        at_t = {
            "source": schedule.mix(self._reference, eps[:n], t[:n]),
            "target": schedule.mix(x, eps, t),
        }
        p = self._panel.ask(self._prior, {row: at_t[row[0]] for row in self._rows}, t)
        w = self._guidance
        delta = guided_eps(p, "target", w) - guided_eps(p, "source", w)
        return weighted(delta, schedule, t, *self._exponents)
