"""The source and the target side by side: what every score that compares the two asks."""

from collections.abc import Mapping
from typing import NotRequired

from jaxtyping import Float
from torch import Tensor

from scumble.core.job import Texts
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Panel, Prior, Row, Text, guided
from scumble.core.types import Latent, Time

Source = Float[Tensor, "n c h w"]  # one row, or as many as the target has


class Sides(Texts):
    """`reference` (b, c, h, w): the source's latent. `guidance` on both sides, unless the source has its own."""

    reference: Source
    guidance: float
    source_guidance: NotRequired[float | None]


class Branches:
    """Both branches in one batched call, each with its own guidance.

    With one reference and one source prompt, any number of targets may share its noise and its times. Four
    evaluations; a branch of guidance 1 asks no null row.
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
        self._w = {"source": guidance if source_guidance is None else source_guidance, "target": guidance}
        nulls = {"source": null.take(range(len(source))), "target": null}
        self._texts: dict[Row, Text] = {(role, "null"): nulls[role] for role, w in self._w.items() if w != 1}
        self._texts |= {("source", "text"): source, ("target", "text"): target}
        self._panels: dict[tuple[Row, ...], Panel] = {}

    @property
    def rows(self) -> tuple[Row, ...]:
        """All that is asked, in the order of the batch."""
        return tuple(self._texts)

    def ask(self, at_t: Mapping[str, Tensor], t: Time, rows: tuple[Row, ...]) -> dict[Row, Prediction]:
        """One call for some of the rows: the state of each role at times t -> what is said about each row."""
        if rows not in self._panels:
            self._panels[rows] = Panel({row: self._texts[row] for row in rows})
        return self._panels[rows].ask(self.prior, {row: at_t[row[0]] for row in rows}, t)

    def guided(self, p: Mapping[Row, Prediction], role: str) -> Prediction:
        """A role's rows, in its own guidance."""
        return guided(p, role, self._w[role])

    def __call__(self, source_t: Source, target_t: Latent, t: Time) -> tuple[Prediction, Prediction]:
        """What is said about the source and about the target, both at times t."""
        p = self.ask({"source": source_t, "target": target_t}, t, self.rows)
        return self.guided(p, "source"), self.guided(p, "target")

    def of_source(self, source_t: Source, t: Time) -> Prediction:
        """What is said about the source alone."""
        rows = tuple(row for row in self.rows if row[0] == "source")
        return self.guided(self.ask({"source": source_t}, t, rows), "source")

    def noised(self, x: Latent, t: Time, noise: Noise) -> tuple[Source, Latent]:
        """The source and x at times t, under the same noise."""
        schedule, n = self.prior.schedule, len(self.reference)
        eps = noise.like(x)
        return schedule.mix(self.reference, eps[:n], t[:n]), schedule.mix(x, eps, t)
