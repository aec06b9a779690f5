"""Source and target evaluated together, for all scores that compare the two."""

from typing import NotRequired

from jaxtyping import Float
from torch import Tensor

from scumble.core.guidance import Guided, branch
from scumble.core.job import Texts
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior, Text
from scumble.core.types import Latent, Time

Source = Float[Tensor, "n c h w"]  # one row, or as many as the target has


class Sides(Texts):
    """`reference` (b, c, h, w): the source latent. `guidance` applies to both sides, unless the source has its own."""

    reference: Source
    guidance: float
    source_guidance: NotRequired[float | None]


class Branches:
    """Both branches in one batched call, each with its own guidance.

    One reference with one source prompt can serve any number of targets, which then share its noise and times. Costs
    four evaluations; a branch with guidance 1 evaluates no null row.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        reference: Source,
        source: Text,
        target: Text,
        null: Text,
        guidance: float,
        source_guidance: float | None = None,
    ):
        self.prior, self.reference = prior, reference.expand(len(source), -1, -1, -1)
        w = guidance if source_guidance is None else source_guidance
        of_source = branch(prior.card, "source", source, null.take(range(len(source))), w)
        self.guided = Guided(prior, [of_source, branch(prior.card, "target", target, null, guidance)])
        self._source = Guided(prior, [of_source])

    def __call__(self, source_t: Source, target_t: Latent, t: Time) -> tuple[Prediction, Prediction]:
        """The predictions for the source and for the target, both at times t."""
        p = self.guided({"source": source_t, "target": target_t}, t)
        return p["source"], p["target"]

    def of_source(self, source_t: Source, t: Time) -> Prediction:
        """The prediction for the source alone."""
        return self._source({"source": source_t}, t)["source"]

    def noised(self, x: Latent, t: Time, noise: Noise) -> tuple[Source, Latent]:
        """The source and x at times t, under the same noise."""
        schedule, n = self.prior.schedule, len(self.reference)
        eps = noise.like(x)
        return schedule.mix(self.reference, eps[:n], t[:n]), schedule.mix(x, eps, t)
