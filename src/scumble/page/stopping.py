"""A prior that stops before its next network call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from scumble.core.control import AttentionControl, Site
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, LowRank, Prior
from scumble.core.schedule import Schedule
from scumble.core.text import Text
from scumble.core.types import Image, Latent, Time


@dataclass(frozen=True, eq=False)
class Stoppable:
    """The same prior; `stop` is called before every network call, and raises `Cancelled` to stop the edit.

    `on_step` alone would stop an edit only between steps, some of which take many calls.
    """

    prior: Prior
    stop: Callable[[], None]

    @property
    def schedule(self) -> Schedule:
        return self.prior.schedule

    @property
    def card(self) -> Card:
        return self.prior.card

    @property
    def loaded(self) -> Mapping[str, Any]:
        return self.prior.loaded

    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        self.stop()
        return self.prior.encode(image, noise)

    def decode(self, latent: Latent) -> Image:
        return self.prior.decode(latent)

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        return self.prior.embed(prompts, size=size, **extra)

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        self.stop()
        return self.prior.predict(x_t, t, text, at)

    def sites(self) -> frozenset[Site]:
        return self.prior.sites()

    def control(self, control: AttentionControl) -> AbstractContextManager[None]:
        return self.prior.control(control)

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        return self.prior.parameters(part)

    def tuning(self) -> AbstractContextManager[None]:
        return self.prior.tuning()

    def adapter(self, low_rank: LowRank) -> AbstractContextManager[Mapping[str, Tensor]]:
        return self.prior.adapter(low_rank)

    def checkpointed(self) -> AbstractContextManager[None]:
        return self.prior.checkpointed()
