"""Attention controls inside the transformers of SD3 and FLUX.1, whose layers attend to picture and text together.

| site | block | what the control is given |
|---|---|---|
| joint | double | q, k, v of picture and text, which have weights of their own |
| joint | single | the same, of one sequence (FLUX.1) |
| self | double | q, k, v of the picture: the second attention of SD 3.5 medium |
| self_out | double | the picture's projected output of the joint layer |

q and k are normalised and, in FLUX.1, rotated by the tokens' places.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scumble.core.control import Block, Kind, Site

JOINT = ("SD3Transformer2DModel", "FluxTransformer2DModel")
PROCESSORS = ("JointAttnProcessor2_0", "FluxAttnProcessor", "JointProcessor")


class Attends(Protocol):
    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


def joint_sites(network: Any) -> dict[Site, Any]:
    """Every site of an SD3 or FLUX transformer, and the module that is listened to there."""
    found: dict[Site, Any] = {}
    counts: Counter[tuple[str, str]] = Counter()

    def add(kind: Kind, block: Block, module: nn.Module) -> None:
        stride = 2  # a token is a patch of 2 x 2 cells
        found[Site(kind, block, counts[kind, block], stride, counts[kind, ""])] = module
        counts.update([(kind, block), (kind, "")])

    for block in network.transformer_blocks:
        add("joint", "double", block.attn)
        add("self_out", "double", block.attn.to_out[1])
        if getattr(block, "attn2", None) is not None:
            add("self", "double", block.attn2)
    for block in getattr(network, "single_transformer_blocks", ()):
        add("joint", "single", block.attn)
    return found


class JointProcessor:
    """diffusers' protocol of SD3's and FLUX.1's attention; the control computes the attention itself."""

    def __init__(self, site: Site, bridge: Attends):
        self.site, self.bridge = site, bridge

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        **_: Any,
    ) -> Any:
        from diffusers.models.embeddings import apply_rotary_emb

        def heads(x: Tensor, norm: nn.Module | None) -> Tensor:
            x = torch.unflatten(x, -1, (attn.heads, -1)).transpose(1, 2)
            return x if norm is None else norm(x)

        assert attention_mask is None
        text_first = type(attn).__name__ == "FluxAttention"
        x, text = hidden_states, encoder_hidden_states
        streams = [
            [heads(attn.to_q(x), attn.norm_q), heads(attn.to_k(x), attn.norm_k), heads(attn.to_v(x), None)]
        ]
        if text is not None:
            added = [
                heads(attn.add_q_proj(text), attn.norm_added_q),
                heads(attn.add_k_proj(text), attn.norm_added_k),
                heads(attn.add_v_proj(text), None),
            ]
            streams.insert(0 if text_first else 1, added)
        parts: list[Any] = [torch.cat(part, 2) for part in zip(*streams, strict=True)]
        if image_rotary_emb is not None:
            parts[:2] = [apply_rotary_emb(each, image_rotary_emb, sequence_dim=2) for each in parts[:2]]
        q, k, v = parts
        out = self.bridge.attend(self.site, q, k, v).to(v.dtype).transpose(1, 2).flatten(2)
        if text is None:
            return out if attn.pre_only else attn.to_out[1](attn.to_out[0](out))
        length = text.shape[1]
        theirs, ours = (
            (out[:, :length], out[:, length:]) if text_first else (out[:, -length:], out[:, :-length])
        )
        if text_first or not attn.context_pre_only:
            theirs = attn.to_add_out(theirs)
        return attn.to_out[1](attn.to_out[0](ours)), theirs
