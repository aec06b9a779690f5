"""Our noise-aware classifier: p(attribute | x_t, t) of the object and the background of a drawing, from latents.

As in Dhariwal & Nichol 2021 (arXiv:2105.05233, section 4.1) it is the down half of a U-Net with a pooling head. It may
begin from the weights of the model that it guides, which knows the noise already (Baranchuk et al. 2022,
arXiv:2112.03126).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.core.judges import Classifier
from scumble.core.types import Latent, Time
from scumble.networks import _latents

WIDTH = 128  # channels of the features that are pooled


class DownHalf(nn.Module):
    """(x_t (b, c, h, w), t (b,)) -> features at full, half, quarter ... resolution, of a UNet2DConditionModel.

    config: the U-Net's. null: (L, D), the text that it hears: the empty prompt, as the model's text encoder has it.
    """

    def __init__(self, config: Mapping[str, Any], null: Tensor):
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        super().__init__()
        whole = cast(Any, UNet2DConditionModel).from_config(dict(config))
        self.stem, self.level = whole.conv_in, whole.time_embedding
        self.waves = whole.time_proj
        self.downs = whole.down_blocks
        self.null = nn.Parameter(null.clone())
        self.widths: tuple[int, ...] = tuple(whole.config.block_out_channels)

    def begin(self, unet: Any) -> None:
        """Take over the weights of a U-Net of the same config."""
        for ours, theirs in (
            (self.stem, unet.conv_in),
            (self.level, unet.time_embedding),
            (self.downs, unet.down_blocks),
        ):
            cast(nn.Module, ours).load_state_dict(theirs.state_dict())

    def forward(self, x: Tensor, t: Tensor) -> list[Tensor]:
        level = self.level(self.waves(t).to(x))
        text = self.null.expand(len(x), -1, -1)
        h, found = self.stem(x), list[Tensor]()
        for block in cast("Sequence[Any]", self.downs):
            hears = getattr(block, "has_cross_attention", False)
            h, states = block(h, level, **({"encoder_hidden_states": text} if hears else {}))
            found.append(states[len(block.resnets) - 1])  # the last before the next resolution
        return found


class ClassifierNetwork(nn.Module):
    """(x_t, t) -> logits (b, n) of all classes of all groups, side by side."""

    def __init__(self, config: Mapping[str, Any], null: Tensor, classes: int, width: int = WIDTH):
        super().__init__()
        self.width = width
        self.trunk = DownHalf(config, null)
        first, *others = self.trunk.widths
        self.joins = nn.ModuleList(
            [nn.Conv2d(first, width, 2, stride=2), *(nn.Conv2d(other, width, 1) for other in others)]
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, classes))

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """(b, width, h / 2, w / 2): what is pooled; all resolutions joined at half of the latents'."""
        maps = [join(m) for join, m in zip(self.joins, self.trunk(x, t), strict=True)]
        h = torch.stack([F.interpolate(m, maps[0].shape[2:]) for m in maps]).sum(0)
        h = h + self.mix(F.silu(self.norms[0](h)))
        return F.silu(self.norms[1](h))

    def pooled(self, features: Tensor) -> Tensor:
        """Logits (b, n) of features: their mean and their maximum over the picture, read by two layers."""
        return self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.pooled(self.features(x, t))


class LatentClassifier(_latents.OnLatents, Classifier):
    """Learned on pictures of one object; without a time it judges clean latents."""

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
        network = ClassifierNetwork(about["unet"], torch.zeros(about["null"]), classes)
        return cls(folder.resolve().name, _latents.read(folder, network), about)

    def log_prob(self, x: Latent, t: Time | None = None) -> Float[Tensor, "b n"]:
        """log p(class | x_t), normalised within each group; clean latents without `t`."""
        t = torch.zeros(len(x)) if t is None else t
        logits = self.network.to(x.device)(x.float(), t.to(x.device))
        return torch.cat([logits[:, list(group)].log_softmax(1) for group in self.groups], 1)
