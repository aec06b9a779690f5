"""`scumble train clip`: pictures at any noise level and captions as vectors of one space."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.clip import ClipNetwork, LatentClip
from scumble.networks.tower import TowerConfig

from .captions import prompt
from .curves import retrievals
from .judging import JudgeRecipe, Noisy, about, begin, finish, learn, material
from .tokenizer import new_tokenizer

REACHED = 0.90
"""Share of clean pictures whose own caption must be found among 100."""


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(JudgeRecipe):
    """width: of the vectors."""

    width: int = 64
    tower: TowerConfig = field(default_factory=TowerConfig)


def train_clip(
    codec: Any, text: Any, out: Path, recipe: ClipRecipe, *, pictures: Path | None = None
) -> LatentClip:
    """Train a CLIP on a codec's latents and captions, and write it to `out`, with its curve; returns it.

    text: the text tower to begin from, such as the built-in model's. Folders and errors are those of
    `train_classifier`.
    """
    log = begin(out, recipe)
    data = material(codec, recipe, pictures or log / "pictures")
    torch.manual_seed(recipe.seed)
    network, tokenizer = ClipNetwork(recipe.tower, text, recipe.width), cast(Any, new_tokenizer())
    rng = np.random.default_rng([31, recipe.seed])

    def loss(network: nn.Module, rows: Tensor, noisy: Noisy) -> Tensor:
        clip = cast(ClipNetwork, network)
        told = [prompt(data.train.scenes[int(k)], rng, unprompted=0, full=0.3) for k in rows]
        ids = tokenizer(told, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return contrast(
            clip.pictures(noisy.x, noisy.angle), clip.texts(ids.to(noisy.x.device)), clip.log_scale
        )

    trained = learn("clip", network, loss, data, recipe, log)
    stated = {"tower": asdict(recipe.tower), "text": text.config.to_dict(), "width": recipe.width}
    made = LatentClip(out.name, trained, about("scumble-clip", data, recipe, stated), tokenizer)
    finish(made, out, {"retrieval": retrievals(made, data.test, recipe.seed)}, REACHED)
    return made


def contrast(pictures: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Which text belongs to which picture, and the reverse (Radford et al. 2021, fig. 3)."""
    logits = log_scale.exp().clamp(max=100) * pictures.float() @ texts.float().mT
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.mT, own)) / 2
