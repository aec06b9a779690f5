"""What the denoiser learns besides its main loss: which object is where (labels), and which word refers to it
(pointing).

Both need ground truth that only a scene generator has. They act at high noise, where captions decide and where the
main loss alone learns slowly: with labels, a network of 6 M parameters follows captions after a fraction of the
pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.scenes.world import COLOURS, GROUNDS, SHAPES, TEXTURES

from .bank import Batch

NAMES = (SHAPES, tuple(COLOURS), TEXTURES)


class LabelHead(nn.Module):
    """Predicts what the clean picture has in each cell, from a feature of the noisy one. It is dropped after training.

    feature: (b, C, h, w) -> logits (b, sum, h, w): of shape, colour, texture (each with "none") and ground.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.sizes = [*(len(names) + 1 for names in NAMES), len(GROUNDS)]
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.SiLU(), nn.Conv2d(channels, sum(self.sizes), 1)
        )

    def forward(self, feature: Tensor) -> Tensor:
        return self.layers(feature)

    def loss(self, feature: Tensor, owners: Tensor, things: Tensor, grounds: Tensor) -> Tensor:
        """Sum of the four cross-entropies, each a mean over cells; what a cell has is told as in `Batch`."""
        logits = self(feature).float().split(self.sizes, dim=1)
        rows = torch.arange(len(owners), device=owners.device)[:, None, None]
        cells = things[rows, owners]  # (b, h, w, 3)
        losses = [F.cross_entropy(logits[k], cells[..., k]) for k in range(3)]
        ground = grounds[:, None, None].expand_as(owners)
        return torch.stack([*losses, F.cross_entropy(logits[3], ground)]).sum()


class Watched:
    """A diffusers attention processor that computes attention explicitly and keeps the maps of cross-attention.

    Plain matrix products and a softmax train 1.5 times as fast on CPUs as the fused kernel, whose backward pass is
    slow.
    """

    def __init__(self, seen: list[Tensor] | None = None):
        self.seen = seen

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        tokens = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(part)
            for part in (attn.to_q(hidden_states), attn.to_k(tokens), attn.to_v(tokens))
        )
        weights = attn.get_attention_scores(query, key)
        if self.seen is not None and encoder_hidden_states is not None:
            self.seen.append(weights.unflatten(0, (-1, attn.heads)).mean(1))  # (b, h w, tokens)
        out = attn.batch_to_head_dim(weights @ value)
        return attn.to_out[1](attn.to_out[0](out))


def pointing_loss(maps: list[Tensor], batch: Batch, weight: Tensor) -> Tensor:
    """How far the attention of words is from the objects that they refer to.

    maps: (b, h w, tokens) each, of square layers. weight: (b,), the weight of a picture (a noisy one cannot know
    where its objects are). Returns the mean of -log(share of a word's attention inside its object), over words and
    maps.
    """
    counted = weight[:, None] * (batch.refers > 0)
    total = counted.sum().clamp(min=1e-6)
    losses: list[Tensor] = []
    rows = torch.arange(3, device=batch.owners.device)[:, None, None]
    owned = (batch.owners[:, None] == rows).float()  # (b, 3, CELLS, CELLS)
    for seen in maps:
        side = round(seen.shape[1] ** 0.5)
        inside = F.adaptive_max_pool2d(owned, side).flatten(2)  # (b, 3, h w)
        mask = inside.gather(1, batch.refers[:, :, None].expand(-1, -1, inside.shape[2]))  # (b, tokens, h w)
        mass = seen.float().mT
        share = (mass * mask).sum(-1) / mass.sum(-1).clamp(min=1e-6)
        losses.append(-(share.clamp(min=1e-4).log() * counted).sum() / total)
    return torch.stack(losses).mean()
