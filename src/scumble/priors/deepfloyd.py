"""DeepFloyd IF (2023), a cascade of pixel models as Imagen is one (Saharia et al. 2022, arXiv:2205.11487).

Stage I draws a small picture from text. A later stage draws it larger, conditioned on the text, on the up-sampled
picture with noise in it, and on the level of that noise (Ho et al. 2021, arXiv:2106.15282, section 4.2). All of them
predict eps and a variance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Image, Latent, Time
from scumble.priors._card import digest
from scumble.priors._families import T5, T5_TOKENIZER, UNET, load_class
from scumble.priors._folder import Folder
from scumble.priors._identity import IdentityCodec
from scumble.priors._prompts import asked, lowered, read_t5
from scumble.priors._schedule import from_scheduler
from scumble.priors._sharing import Shared, alone, lock_of

ROWS = 77  # of T5: what the networks were trained on
PIPELINES = {"IFPipeline": False, "IFSuperResolutionPipeline": True}
"""What model_index.json calls a stage -> whether it draws a given picture larger."""
SAMPLING: Mapping[str, Any] = {
    "sampler": "ddpm", "steps": 100, "guidance": 7.0, "variance": "learned_range", "threshold": 0.95,
}  # fmt: skip
"""How a first stage is sampled, as published."""


class IFPrior(Shared, IdentityCodec):
    """A stage: a U-Net on pictures in [-1, 1] that is told a prompt by T5, lower-cased.

    `noising`: of a later stage, the levels of the noise in the given picture; such a stage wants `condition`.
    """

    def __init__(
        self,
        *,
        unet: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Mapping[str, Any],
        noising: Mapping[str, Any] | None = None,
        card: Callable[[], Card],
        device: str | torch.device = "cpu",
    ):
        self.schedule: Schedule = from_scheduler(scheduler)
        self.noising = None if noising is None else from_scheduler(noising)
        self.device = torch.device(device)
        self.tokenizers: Mapping[str, Any] = {"tokenizer": tokenizer}
        self._unet, self._text, self._card = unet, text_encoder, cache(card)
        self.lock = lock_of(unet)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """A stage's folder as diffusers saves it, in float32; safetensors only.

        A later stage without text_encoder/ and tokenizer/ of its own is not read: copy stage I's into it. Raises
        InputError for a folder that is absent, incomplete or of another kind.
        """
        from scumble.priors._parts import load_part, load_tokenizer
        from scumble.priors._quiet import quiet

        place = Folder.open(folder)
        kind = str(place.index.get("_class_name"))
        if kind not in PIPELINES:
            raise place.error(f"its pipeline is {kind}", f"an IF stage is {' or '.join(PIPELINES)}")
        for part in ("unet", "text_encoder"):
            place.check_part(part)
        place.check_tokenizer("tokenizer", T5_TOKENIZER)
        with quiet():
            tokenizer = load_tokenizer(place, "tokenizer", T5_TOKENIZER)
            parts = {
                name: load_part(place, name, load_class(where), torch.float32)
                for name, where in (("unet", UNET), ("text_encoder", T5))
            }
        unet, text = (part.to(device).eval().requires_grad_(False) for part in parts.values())
        noising = place.path / "image_noising_scheduler/scheduler_config.json"
        if PIPELINES[kind] and not noising.is_file():
            raise place.error(f"{noising.parent.name}/{noising.name} is missing", "download it again")
        return cls(
            unet=unet,
            text_encoder=text,
            tokenizer=tokenizer,
            scheduler=place.config("scheduler"),
            noising=place.json(noising) if PIPELINES[kind] else None,
            card=lambda: _card(place.id, unet, text),
            device=device,
        )

    @property
    def card(self) -> Card:
        """What one must know before using it; the hash is taken over all weights, once."""
        return self._card()

    # The given picture

    def condition(
        self, picture: Image, size: tuple[int, int], level: int, noise: Noise
    ) -> Mapping[str, Tensor]:
        """What a later stage is told of the picture (b, 3, h, w) in [-1, 1], for `embed`: it is up-sampled to `size`
        (H, W) bilinearly, corners aligned, and noise of the level 0..T-1 is drawn into it.

        Raises InputError for a first stage, and for a level that there is not.
        """
        if self.noising is None:
            raise InputError("picture: this is a first stage, which draws from text alone; leave it out")
        if not 0 <= level < self.noising.T:
            raise InputError(f"level: {level}; choose 0 to {self.noising.T - 1}")
        given = F.interpolate(picture.to(self.device), size, mode="bilinear", align_corners=True)
        levels = self.noising.time(level, len(given))
        return {"given": self.noising.mix(given, noise.like(given), levels), "level": levels}

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; a later stage wants `condition`'s entries as well, `given` and `level`.

        Raises InputError where they are missing, or further ones are there.
        """
        wanted = {"given", "level"} if self.noising else set[str]()
        if extra.keys() != wanted:
            names = ", ".join(sorted(wanted ^ extra.keys()))
            raise InputError(f"embed: {names}; a later stage wants given and level, a first stage neither")
        text = read_t5(self, "text_encoder", asked(prompts, {}), ROWS, masked=True, prepare=lowered)
        told: Any = {name: value.expand(len(text), *value.shape[1:]) for name, value in _tensors(extra)}
        return replace(text, mask=None, extra=told)  # T5 masks the padding; the U-Net looks at all rows

    def encode_ids(self, part: str, ids: Tensor, **settings: Any) -> Any:
        """What the text encoder says of token ids (b, L)."""
        return self._text(ids, **settings)

    # The network

    @alone
    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        """One network call, told t (b,), on x_t (b, 3, H, W) that stands at level `at` (None: t)."""
        text = text.expand(len(x_t))
        seen = torch.cat([x_t, text.extra["given"]], 1) if self.noising else x_t
        out = self._unet(
            seen,
            self.schedule.told(t).to(x_t.device),
            encoder_hidden_states=text.tokens,
            class_labels=text.extra["level"].to(x_t.device) if self.noising else None,
        ).sample
        eps, var = out.chunk(2, dim=1)
        return self.schedule.predict(x_t, t if at is None else at, eps=eps, var=var)

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        """The weights by name. `part`: "denoiser", "text" or "all". Raises InputError for another part."""
        parts = {"denoiser": self._unet, "text": self._text}
        if part not in (*parts, "all"):
            raise InputError(f"part: {part!r}; this model has denoiser, text and all")
        return {
            f"{name}.{key}": weight
            for name, module in parts.items()
            if part in (name, "all")
            for key, weight in module.named_parameters()
        }


def _tensors(extra: Mapping[str, object]) -> list[tuple[str, Tensor]]:
    return [(name, torch.as_tensor(value)) for name, value in extra.items()]


def _card(id: str, unet: Any, text: Any) -> Card:
    return Card(
        id=id,
        hash=digest(iter((unet, text))),
        domain="Photographs and pictures of all kinds.",
        size=unet.config.sample_size,
        multiple=2 ** (len(unet.config.block_out_channels) - 1),
        licence="see the checkpoint",
        capabilities=frozenset({"text", "gradient"}),
        recommended={"sampling": SAMPLING},
    )
