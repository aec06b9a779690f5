"""The weights of a latent diffusion model: by name, and while they change."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.prior import Card, LowRank
from scumble.priors._adapter import adapted, checkpointed
from scumble.priors._card import refuse_tuning
from scumble.priors._codec import LatentCodec
from scumble.priors._texts import TextEncoders


class TunableParts(LatentCodec):
    """A network and text encoders beside the codec, whose weights a method can tune."""

    _network: Any
    _texts: TextEncoders

    @property
    def card(self) -> Card:
        raise NotImplementedError

    def _refuse_tuning(self) -> None:
        refuse_tuning(self.card.id, self._network, self._desk.memory)

    @contextmanager
    def adapter(self, low_rank: LowRank) -> Generator[Mapping[str, Tensor]]:
        """Low-rank changes of network and text encoders, to train: see `Prior.adapter`."""
        with self.tuning():
            parts = {"denoiser": self._network, **(self._encoders() if "text" in low_rank.parts else {})}
            wanted = {name: part for name, part in parts.items() if name.partition("_")[0] in low_rank.parts}
            with adapted(wanted, low_rank) as matrices:
                yield matrices

    @contextmanager
    def tuning(self) -> Generator[None]:
        """The network's lock; text encoders stay where they are."""
        with super().tuning(), self._texts.held():
            yield

    def checkpointed(self) -> AbstractContextManager[None]:
        """Less memory in backward passes: see `Prior.checkpointed`. Text encoders keep their activations."""
        return checkpointed(self._network, self.card.id)

    def _encoders(self) -> dict[str, nn.Module]:
        return {f"text{name.removeprefix('text_encoder')}": part for name, part in self._texts.items()}

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        """The weights by name. `part`: "denoiser", "codec", "text" or "all".

        Raises InputError for another part.
        """
        parts = {"denoiser": self._network, "codec": self._vae}
        if part in ("text", "all"):
            parts |= self._encoders()
        if part not in ("denoiser", "codec", "text", "all"):
            raise InputError(f"part: {part!r}; this model has denoiser, codec, text and all")
        return {
            f"{name}.{key}": w
            for name, module in parts.items()
            if part in ("all", name.partition("_")[0])
            for key, w in module.named_parameters()
        }
