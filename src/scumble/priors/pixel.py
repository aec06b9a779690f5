"""Unconditional pixel models (DDPM, ADM): a UNet2DModel folder, the identity codec, and one null text."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.priors._identity import IdentityCodec

Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t (b, c, h, w), the time told (b,)) -> (b, c, h, w), or (b, 2c, h, w) with variance channels behind."""


class PixelPrior(IdentityCodec):
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
        from diffusers.models.unets.unet_2d import UNet2DModel

        folder = Path(folder)
        for part in (
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "scheduler/scheduler_config.json",
        ):
            if not (folder / part).is_file():
                raise InputError(f"model: {folder} has no {part}; expected a folder with a UNet2DModel")
        unet: Any = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True)
        unet.to(device).eval().requires_grad_(False)
        weights = dict(unet.named_parameters())
        config = json.loads((folder / "scheduler/scheduler_config.json").read_text())
        size = unet.config["sample_size"]
        card = Card(
            id=folder.name,
            hash=hashlib.sha256(
                (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes()
            ).hexdigest()[:16],
            domain="Pictures like those it was trained on.",
            size=size if isinstance(size, int) else max(size),
            multiple=2 ** (len(unet.config["block_out_channels"]) - 1),
            capabilities=frozenset({"gradient"}),
        )

        def network(x_t: Tensor, t: Tensor) -> Tensor:
            return unet(x_t, t).sample

        return cls(network, schedule or Schedule.from_config(config), card, weights)

    @property
    def network(self) -> Network:
        return self._network

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        return self._weights

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """The null text, for every prompt that is empty."""
        if any(prompts):
            raise InputError(f"prompts: {self.card.id} knows no text; leave source and target out")
        return Text(tokens=torch.zeros(len(prompts), 1, 1), prompts=tuple(prompts))

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        told = self.schedule.told(t).to(x_t.device)
        out, var = self._network(x_t, told), None
        if out.shape[1] == 2 * x_t.shape[1]:
            out, var = out.chunk(2, dim=1)
        ends = {self.schedule.prediction: out}
        return self.schedule.predict(x_t, t if at is None else at, **ends, var=var)
