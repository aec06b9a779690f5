"""Unconditional pixel models (DDPM, ADM): a UNet2DModel folder, the identity codec, and one null text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.priors._card import read_card
from scumble.priors._folder import Folder
from scumble.priors._identity import IdentityCodec
from scumble.priors._schedule import from_scheduler
from scumble.priors._sharing import Shared

Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t (b, c, h, w), the time told (b,)) -> (b, c, h, w), or (b, 2c, h, w) with variance channels behind."""


class PixelPrior(Shared, IdentityCodec):
    """A network on pictures themselves, without text.

    `network` may output c channels (fixed variance) or 2c, the latter half being the learned-range variance
    in [-1, 1] (Nichol & Dhariwal 2021). `weights` are its parameters by name.
    """

    def __init__(
        self, network: Network, schedule: Schedule, card: Card, weights: Mapping[str, Tensor] | None = None
    ):
        self.schedule, self.card = schedule, card
        self._network, self._weights = network, dict(weights or {})

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str = "cpu", schedule: Schedule | None = None
    ) -> "PixelPrior":
        """A diffusers folder with unet/ (UNet2DModel, safetensors) and scheduler/. Raises InputError where it
        is none.
        """
        place = Folder.open(folder)
        if place.family() != "pixel":
            raise place.error("it reads text", "load it with scumble.load")
        return cls.from_folder(place, device=device, schedule=schedule)

    @classmethod
    def from_folder(
        cls, folder: Folder, *, device: str = "cpu", schedule: Schedule | None = None
    ) -> "PixelPrior":
        """A checkpoint folder that has been found already. Raises InputError where it is incomplete."""
        from diffusers.models.unets.unet_2d import UNet2DModel

        from scumble.priors._parts import load_part, quiet

        folder.check()
        with quiet():
            unet = load_part(folder, "unet", UNet2DModel, torch.float32)
        unet.to(device).eval().requires_grad_(False)
        weights = dict(unet.named_parameters())

        def network(x_t: Tensor, t: Tensor) -> Tensor:
            return unet(x_t, t).sample

        return cls(
            network, schedule or from_scheduler(folder.config("scheduler")), read_card(folder), weights
        )

    @property
    def network(self) -> Network:
        return self._network

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        return self._weights

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """The null text, for every prompt that is empty."""
        if any(prompts):
            raise InputError(f"prompts: {self.card.id} takes no text; leave source and target out")
        return Text(tokens=torch.zeros(len(prompts), 1, 1, dtype=torch.float32), prompts=tuple(prompts))

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        told = self.schedule.told(t).to(x_t.device)
        out, var = self._network(x_t, told), None
        if out.shape[1] == 2 * x_t.shape[1]:
            out, var = out.chunk(2, dim=1)
        ends = {self.schedule.prediction: out}
        return self.schedule.predict(x_t, t if at is None else at, **ends, var=var)
