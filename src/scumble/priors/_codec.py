"""The codec of latent diffusion models: pictures to latents in the scale that the network was trained on, and back."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.types import Image, Latent
from scumble.priors._autoencoders import KINDS, Kind, Scale
from scumble.priors._families import FAMILIES
from scumble.priors._memory import Desk
from scumble.priors._sharing import Shared, alone


class Codec(nn.Module):
    """An autoencoder with its scale as a module of its own, for what is made of it: float32, on the CPU.

    multiple: what both sides of a picture must be multiples of, in pixels.
    """

    def __init__(self, vae: Any, *, kind: Kind, scale: Scale, multiple: int):
        super().__init__()
        self.vae, self.kind, self.scale, self.multiple = vae, kind, scale, multiple

    def encode(self, image: Image) -> Latent:
        """(b, 3, H, W) in [-1, 1] -> the posterior's mean, scaled."""
        moments = self.kind.moments(self.vae, image)
        return self.scale.to(moments[:, : self.vae.config[self.kind.channels]])

    def decode(self, latent: Latent) -> Image:
        """(b, c, h, w) -> (b, 3, H, W), not clamped."""
        return self.kind.picture(self.vae, self.scale.back(latent))


class LatentCodec(Shared):
    """A prior's autoencoder. `patch`: the side of a patch of the latent, in cells, that the network takes as one
    token.
    """

    patch: ClassVar[int] = 1
    family: ClassVar[str]
    device: torch.device
    _vae: Any
    _desk: Desk

    def _set_scale(self) -> None:
        self._kind = KINDS[FAMILIES[self.family].parts["vae"]]
        self._scale = self._kind.scale(self._vae)
        self._stride = self._kind.stride(self._vae.config)

    @property
    def _multiple(self) -> int:
        """What both sides of a canvas must be multiples of, in pixels."""
        return self._stride * self.patch

    @alone
    def codec(self) -> Codec:
        """A copy of the autoencoder, which shares nothing with the prior."""
        vae = copy.deepcopy(self._vae).cpu().float().eval().requires_grad_(False)
        vae.disable_slicing()
        vae.disable_tiling()
        return Codec(vae, kind=self._kind, scale=self._scale, multiple=self._stride)

    @alone
    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        """(b, 3, H, W) in [-1, 1] -> the posterior's mean, or a sample with `noise`, scaled; float32. Where the
        autoencoder has no posterior, it is its one answer, whatever the noise.

        Raises InputError unless H and W are multiples of the codec's stride times the network's patch.
        """
        height, width = image.shape[-2:]
        if height % self._multiple or width % self._multiple:
            sides = f"both sides must be multiples of {self._multiple} for this model"
            raise InputError(f"image: {width} x {height} px; {sides}")
        moments = self._codec("encoding", self._kind.moments, image.to(self.device))
        mean, logvar = moments.tensor_split([self._vae.config[self._kind.channels]], dim=1)
        if noise is not None and logvar.shape[1]:
            mean = mean + (logvar.clamp(-30, 20) / 2).exp() * noise.like(mean)
        return self._scale.to(mean)

    @alone
    def decode(self, latent: Latent) -> Image:
        """(b, c, h, w) -> (b, 3, H, W), float32, not clamped."""
        return self._codec("decoding", self._kind.picture, self._scale.back(latent.to(self.device)))

    def _codec(self, what: str, run: Callable[[Any, Tensor], Tensor], x: Tensor) -> Tensor:
        """run(autoencoder, x) in the autoencoder's precision, and in float32 if half precision overflows."""
        beside = torch.is_grad_enabled() and x.requires_grad
        with self._desk.at_work(self._vae, beside=beside):
            y = run(self._vae, x.to(self._vae.dtype)).float()
        if self._vae.dtype == torch.float32 or y.isfinite().all() or not x.isfinite().all():
            return y
        onwards = "" if self._changing else ", in which this prior's autoencoder runs from now on"
        warnings.warn(
            f"{what} overflowed in {self._vae.dtype}: it was repeated in float32{onwards}",
            UserWarning,
            stacklevel=3,
        )
        wide = copy.deepcopy(self._vae).float()  # a copy: the weights may belong to a pipeline
        if not self._changing:  # else its weights are not the prior's own, and go when the change ends
            self._desk.replace(self._vae, wide)
            self._vae = wide
        with self._desk.at_work(wide, beside=beside):
            return run(wide, x.float())
