"""A prior whose network calls are counted."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from scumble.core.control import AttentionControl, Site
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, LowRank, Prior, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Image, Latent, Time


class Counted:
    """A prior that counts the rows of its network calls."""

    def __init__(self, prior: Prior, schedule: Schedule | None = None):
        """`schedule`: the prior's, fitted to a canvas."""
        self._prior = prior
        self.schedule = prior.schedule if schedule is None else schedule
        self.rows = 0

    @property
    def card(self) -> Card:
        return self._prior.card

    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        return self._prior.encode(image, noise)

    def decode(self, latent: Latent) -> Image:
        return self._prior.decode(latent)

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        return self._prior.embed(prompts, size=size, **extra)

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        self.rows += len(x_t)
        return self._prior.predict(x_t, t, text, at)

    @property
    def loaded(self) -> Mapping[str, Any]:
        return self._prior.loaded

    def sites(self) -> frozenset[Site]:
        return self._prior.sites()

    def control(self, control: AttentionControl) -> AbstractContextManager[None]:
        return self._prior.control(control)

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        return self._prior.parameters(part)

    def tuning(self) -> AbstractContextManager[None]:
        return self._prior.tuning()

    def adapter(self, low_rank: LowRank) -> AbstractContextManager[Mapping[str, Tensor]]:
        return self._prior.adapter(low_rank)

    def checkpointed(self) -> AbstractContextManager[None]:
        return self._prior.checkpointed()
