"""Our small CLIP: a text tower like the built-in model's, and a tower that looks at its latents at any noise level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.core.errors import InputError
from scumble.core.judges import Embedder
from scumble.core.types import Latent, Time
from scumble.networks import _latents
from scumble.networks.tower import Tower, TowerConfig


class ClipNetwork(nn.Module):
    """Text and picture towers, each with a projection to the space that they share (unit vectors of `width`)."""

    def __init__(self, tower: TowerConfig, text: Any, width: int):
        super().__init__()
        self.text = text
        self.text_projection = nn.Linear(text.config.hidden_size, width, bias=False)
        self.tower = Tower(tower)
        inner = self.tower.width
        self.projection = nn.Sequential(
            nn.Linear(inner, inner), nn.SiLU(), nn.Linear(inner, width, bias=False)
        )
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def pictures(self, x: Tensor, angle: Tensor) -> Tensor:
        return F.normalize(self.projection(self.tower(x, angle)[0]), dim=-1)

    def texts(self, ids: Tensor) -> Tensor:
        """ids (n, L), padded to the full length: the last token has read them all."""
        return F.normalize(self.text_projection(self.text(ids).last_hidden_state[:, -1]), dim=-1)


class LatentClip(_latents.OnLatents, Embedder):
    """Looks at x_t of one model, or without a time at its clean latents."""

    def __init__(self, id: str, network: nn.Module, about: Mapping[str, Any], tokenizer: Any):
        super().__init__(id, network, about)
        self.tokenizer = tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> LatentClip:
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        about = _latents.config(folder)
        text = CLIPTextModel(CLIPTextConfig(**about["text"]))
        network = ClipNetwork(TowerConfig.of(about["tower"]), text, about["width"])
        tokenizer = cast(Any, CLIPTokenizer).from_pretrained(folder, local_files_only=True)
        return cls(folder.resolve().name, _latents.read(folder, network), about, tokenizer)

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.tokenizer.save_pretrained(folder)

    def clean(self) -> CleanClip:
        return CleanClip(self.id, self.network, self.about, self.tokenizer)

    def embed_image(self, x: Latent, t: Time | None = None) -> Float[Tensor, "b d"]:
        """Unit vectors of x_t, or of clean latents without `t`."""
        network = cast(ClipNetwork, self.network.to(x.device))
        return network.pictures(x.float(), self.angle(x, t))

    def embed_text(self, prompts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors. Raises InputError for a prompt that is longer than the network reads."""
        network = cast(ClipNetwork, self.network)
        length: int = network.text.config.max_position_embeddings
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, return_tensors="pt"
        ).input_ids
        if tokens.shape[1] > length:
            long = max(prompts, key=len)
            raise InputError(
                f"clip: the prompt {long[:40]!r}... has more than the {length} tokens that {self.id} reads"
            )
        return network.texts(tokens.to(network.log_scale.device))

    def maps(self, x: Latent, t: Time | None = None) -> tuple[Tensor, ...]:
        """The tower's features at full, half, quarter ... resolution."""
        network = cast(ClipNetwork, self.network.to(x.device))
        return network.tower(x.float(), self.angle(x, t))[1]


class CleanClip(LatentClip):
    """The same network for clean latents."""

    noisy = False

    def clean(self) -> CleanClip:
        return self
