"""Score distillation as a bridge between distributions (McAllister et al. 2024, arXiv:2406.09417).

SDS moves a picture from its current distribution to that of the prompt, but approximates the current distribution by
the drawn noise. A prompt that names what is wrong with the picture describes it better.
"""

from scumble.core.noise import Noise
from scumble.core.prior import Panel, Prior, Row, Text
from scumble.core.types import Latent, Time
from scumble.scores.sds import SDSScore
from scumble.scores.weights import powers


class SBPScore:
    """The first `after` gradients are SDS; later ones are alpha^p sigma^q w (eps(x_t, good) - eps(x_t, bad)).

    `good` and `bad` are the target prompt extended by what a picture should and should not be; both are evaluated at
    the same noised picture. The score counts its calls: make a new one for every descent. Costs two evaluations in one
    batched call.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        target: Text,
        null: Text,
        good: Text,
        bad: Text,
        guidance: float,
        after: int,
        alpha_exp: float = 0.0,
        sigma_exp: float = 0.0,
    ):
        self._prior, self._guidance, self._left = prior, guidance, after
        exponents = {"alpha_exp": alpha_exp, "sigma_exp": sigma_exp}
        self._sds = SDSScore(prior, target=target, null=null, guidance=guidance, **exponents)
        self._good: Row = ("good", "text")
        self._bad: Row = ("bad", "text")
        self._panel, self._weigh = Panel({self._good: good, self._bad: bad}), powers(**exponents)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        if self._left:
            self._left -= 1
            return self._sds(x, t, noise)
        schedule = self._prior.schedule
        x_t = schedule.mix(x, noise.like(x), t)
        p = self._panel.ask(self._prior, {self._good: x_t, self._bad: x_t}, t)
        apart = p[self._good].eps - p[self._bad].eps
        return self._weigh(schedule, t).edit.to(x) * self._guidance * apart
