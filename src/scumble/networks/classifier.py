"""Our noise-aware classifier: p(attribute | x_t, t) of the object and the background of a drawing, from latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scumble.core.judges import Classifier
from scumble.core.types import Latent, Time
from scumble.networks import _latents
from scumble.networks.tower import Tower, TowerConfig


class ClassifierNetwork(nn.Module):
    """(x_t, angle) -> logits (b, n) of all classes of all groups, side by side."""

    def __init__(self, tower: TowerConfig, classes: int):
        super().__init__()
        self.tower = Tower(tower)
        width = self.tower.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        return self.head(self.tower(x, angle)[0])


class LatentClassifier(_latents.OnLatents, Classifier):
    """In a picture of several objects each group is that of any one of them."""

    def __init__(self, id: str, network: nn.Module, about: Mapping[str, Any]):
        super().__init__(id, network, about)
        named: Mapping[str, Sequence[str]] = about["groups"]
        self.classes = tuple(name for names in named.values() for name in names)
        ends = [0, *accumulate(len(names) for names in named.values())]
        self.groups = tuple(tuple(range(a, b)) for a, b in pairwise(ends))

    @classmethod
    def from_folder(cls, folder: Path) -> LatentClassifier:
        about = _latents.config(folder)
        classes = sum(len(names) for names in about["groups"].values())
        network = ClassifierNetwork(TowerConfig.of(about["tower"]), classes)
        return cls(folder.resolve().name, _latents.read(folder, network), about)

    def log_prob(self, x: Latent, t: Time | None = None) -> Float[Tensor, "b n"]:
        """log p(class | x_t), normalised within each group; clean latents without `t`."""
        logits = self.network.to(x.device)(x.float(), self.angle(x, t))
        return torch.cat([logits[:, list(group)].log_softmax(1) for group in self.groups], 1)
