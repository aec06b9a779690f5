"""What priors without a codec share: the latent is the picture."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from scumble.core.control import AttentionControl, Site
from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import LowRank
from scumble.core.types import Image, Latent


class IdentityCodec:
    """Encodes and decodes without any change; has no attention to control, and no loading options.

    `device`: where the network is, and so the latents.
    """

    device: torch.device = torch.device("cpu")
    loaded: Mapping[str, Any] = MappingProxyType({})

    def sites(self) -> frozenset[Site]:
        return frozenset()

    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        return image.to(self.device)

    def decode(self, latent: Latent) -> Image:
        return latent

    @contextmanager
    def control(self, control: AttentionControl) -> Generator[None]:
        raise InputError("control: this prior has no attention sites; use one with attention")
        yield

    @contextmanager
    def tuning(self) -> Generator[None]:
        yield

    @contextmanager
    def adapter(self, low_rank: LowRank) -> Generator[Mapping[str, Tensor]]:
        raise InputError("form: this model takes no LoRA; tune its weights, form=weights")
        yield {}

    @contextmanager
    def checkpointed(self) -> Generator[None]:
        raise InputError(
            "checkpointing: this model's network cannot compute its activations again; leave it out"
        )
        yield
