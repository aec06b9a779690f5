"""Unconditional pixel models (DDPM, ADM): a UNet2DModel folder, the identity codec, and one null text."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from scumble.core.control import AttentionControl, Now, Site
from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.priors._attention import Bridge, installed, sites
from scumble.priors._card import read_card
from scumble.priors._folder import Folder
from scumble.priors._identity import IdentityCodec
from scumble.priors._schedule import from_scheduler
from scumble.priors._sharing import Shared, alone, lock_of

Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t (b, c, h, w), the time told (b,)) -> (b, c, h, w), or (b, 2c, h, w) with variance channels behind."""


class PixelPrior(Shared, IdentityCodec):
    """A network on pictures themselves, without text.

    `network` may output c channels (fixed variance) or 2c, the latter half being the learned-range variance
    in [-1, 1] (Nichol & Dhariwal 2021). `weights` are its parameters by name; `module` is the U-Net inside it, where a
    control reaches it; `device` is where it computes.
    """

    def __init__(
        self,
        network: Network,
        schedule: Schedule,
        card: Card,
        weights: Mapping[str, Tensor] | None = None,
        module: nn.Module | None = None,
        device: str | torch.device = "cpu",
    ):
        self.schedule, self.card, self.device = schedule, card, torch.device(device)
        self._network, self._weights, self._module = network, dict(weights or {}), module
        self.lock, self._bridge = lock_of(network if module is None else module), cast(Bridge | None, None)

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

        from scumble.priors._parts import load_part
        from scumble.priors._quiet import quiet

        folder.check()
        with quiet():
            unet = load_part(folder, "unet", UNet2DModel, torch.float32)
        unet.to(device).eval().requires_grad_(False)
        weights = dict(unet.named_parameters())

        def network(x_t: Tensor, t: Tensor) -> Tensor:
            return unet(x_t, t).sample

        return cls(
            network,
            schedule or from_scheduler(folder.config("scheduler")),
            read_card(folder),
            weights,
            unet,
            device,
        )

    @property
    def network(self) -> Network:
        return self._network

    def sites(self) -> frozenset[Site]:
        """The places that a control can reach."""
        return frozenset() if self._module is None else frozenset(sites(self._module))

    @contextmanager
    def control(self, control: AttentionControl) -> Generator[None]:
        """Installs a control for the calls inside; afterwards processors and hooks are as before, always.

        Raises InputError if the control wants no site of this network, if another control is installed, and
        at the first call if a wanted site was not reached.
        """
        if self._module is None:
            raise InputError("control: this prior has no attention sites; use one with attention")
        with self.lock:
            if self._bridge is not None:
                raise InputError("control: this prior is under a control already; compose the two into one")
            with installed(self._module, control) as self._bridge:
                try:
                    yield
                finally:
                    self._bridge = None

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        return self._weights

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """The null text, for prompts that are all empty."""
        if any(prompts):
            raise InputError(f"prompts: {self.card.id} takes no text; leave source and target out")
        tokens = torch.zeros(len(prompts), 1, 1, dtype=torch.float32, device=self.device)
        return Text(tokens=tokens, prompts=tuple(prompts))

    @alone
    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        told = self.schedule.told(t).to(x_t.device)
        if self._bridge is None:
            out, var = self._network(x_t, told), None
        else:
            roles = text.roles or (None,) * len(x_t)
            now = Now(t, t if at is None else at, roles, (x_t.shape[-2], x_t.shape[-1]))
            with self._bridge.call(now):
                out, var = self._network(x_t, told), None
        if out.shape[1] == 2 * x_t.shape[1]:
            out, var = out.chunk(2, dim=1)
        ends = {self.schedule.prediction: out}
        return self.schedule.predict(x_t, t if at is None else at, **ends, var=var)
