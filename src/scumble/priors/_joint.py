"""Attention controls inside transformers whose layers attend to picture and text together.

| site | block | what the control is given | of |
|---|---|---|---|
| joint | double | q, k, v of picture and text, which have weights of their own | SD3, FLUX.1, FLUX.2, Qwen-Image |
| joint | single | the same, of one sequence | FLUX.1, FLUX.2, Z-Image |
| self | double | q, k, v of the picture: the second attention | SD 3.5 medium |
| self_out | double | the picture's projected output of the joint layer | SD3, FLUX.1, FLUX.2, Qwen-Image |
| self_out | single | the same | Z-Image |

q and k are normalised and, but in SD3, rotated by the tokens' places. Text comes first in FLUX and Qwen-Image, the
picture in SD3 and Z-Image. What a row does not see, `Now.mask` says.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scumble.core.control import Block, Kind, Site

JOINT = (
    "SD3Transformer2DModel",
    "FluxTransformer2DModel",
    "Flux2Transformer2DModel",
    "QwenImageTransformer2DModel",
    "ZImageTransformer2DModel",
)
PROCESSORS = (
    "JointAttnProcessor2_0",
    "FluxAttnProcessor",
    "Flux2AttnProcessor",
    "Flux2ParallelSelfAttnProcessor",
    "QwenDoubleStreamAttnProcessor2_0",
    "ZSingleStreamAttnProcessor",
    "JointProcessor",
    "ParallelProcessor",
)
TEXT_FIRST = ("FluxAttnProcessor", "Flux2AttnProcessor", "QwenDoubleStreamAttnProcessor2_0")


class Attends(Protocol):
    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


def joint_sites(network: Any) -> dict[Site, Any]:
    """Every site of a transformer in `JOINT`, and the module that is listened to there."""
    found: dict[Site, Any] = {}
    counts: Counter[tuple[str, str]] = Counter()

    def add(kind: Kind, block: Block, module: nn.Module) -> None:
        stride = 2  # a token is a patch of 2 x 2 cells
        found[Site(kind, block, counts[kind, block], stride, counts[kind, ""])] = module
        counts.update([(kind, block), (kind, "")])

    for block in getattr(network, "transformer_blocks", ()):
        add("joint", "double", block.attn)
        add("self_out", "double", block.attn.to_out[1])
        if getattr(block, "attn2", None) is not None:
            add("self", "double", block.attn2)
    for block in getattr(network, "single_transformer_blocks", ()):
        add("joint", "single", block.attn)
    if type(network).__name__ == "ZImageTransformer2DModel":  # refiners before see picture or text alone
        for block in network.layers:
            add("joint", "single", block.attention)
            add("self_out", "single", block.attention.to_out[0])
    return found


class JointProcessor:
    """diffusers' protocols of joint attention; the control computes the attention itself."""

    def __init__(self, site: Site, bridge: Attends, replaced: Any):
        """`replaced`: the network's own processor."""
        self.site, self.bridge = site, bridge
        self.kind: str = getattr(replaced, "kind", type(replaced).__name__)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        encoder_hidden_states_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Any:
        """Of the masks, `Now` says the same."""
        x, text = hidden_states, encoder_hidden_states
        streams = [_heads(attn, (attn.to_q(x), attn.to_k(x), attn.to_v(x)), attn.norm_q, attn.norm_k)]
        if text is not None:
            added = (attn.add_q_proj(text), attn.add_k_proj(text), attn.add_v_proj(text))
            streams.append(_heads(attn, added, attn.norm_added_q, attn.norm_added_k))
        text_first = self.kind in TEXT_FIRST
        out = self._attended(self._rotated(streams, image_rotary_emb, freqs_cis, text_first))
        if text is None:
            return out if getattr(attn, "pre_only", False) else nn.Sequential(*attn.to_out)(out)
        length = text.shape[1]
        theirs, ours = (
            (out[:, :length], out[:, length:]) if text_first else (out[:, -length:], out[:, :-length])
        )
        if text_first or not attn.context_pre_only:
            theirs = attn.to_add_out(theirs)
        return attn.to_out[1](attn.to_out[0](ours)), theirs

    def _attended(self, qkv: list[Tensor]) -> Tensor:
        q, k, v = qkv
        return self.bridge.attend(self.site, q, k, v).to(v.dtype).transpose(1, 2).flatten(2)

    def _rotated(
        self, streams: list[list[Tensor]], rotary: Any, freqs: Tensor | None, text_first: bool
    ) -> list[Tensor]:
        """q, k, v of all tokens in the network's order, q and k rotated by their places."""
        from diffusers.models.embeddings import apply_rotary_emb

        if self.kind == "QwenDoubleStreamAttnProcessor2_0" and rotary is not None:  # picture and text apart
            for stream, places in zip(streams, rotary, strict=True):
                stream[:2] = [_turned(each, places[None, None]) for each in stream[:2]]
        order = streams[::-1] if text_first else streams
        joined = [torch.cat(part, 2) for part in zip(*order, strict=True)]
        if freqs is not None:
            joined[:2] = [_turned(each, freqs[:, None]) for each in joined[:2]]
        elif rotary is not None and self.kind != "QwenDoubleStreamAttnProcessor2_0":
            turned: Any = [apply_rotary_emb(each, rotary, sequence_dim=2) for each in joined[:2]]
            joined[:2] = turned
        return joined


class ParallelProcessor(JointProcessor):
    """The protocol of FLUX.2's single blocks, whose attention and feed-forward share their matrices."""

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        attn: Any,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
    ) -> Tensor:
        inner = 3 * attn.inner_dim
        projected = attn.to_qkv_mlp_proj(hidden_states)
        streams = [_heads(attn, projected[..., :inner].chunk(3, -1), attn.norm_q, attn.norm_k)]
        out = self._attended(self._rotated(streams, image_rotary_emb, None, True))
        return attn.to_out(torch.cat([out, attn.mlp_act_fn(projected[..., inner:])], -1))


def processor(site: Site, bridge: Attends, replaced: Any) -> JointProcessor:
    """What takes the place of the network's processor `replaced`."""
    kind = getattr(replaced, "kind", type(replaced).__name__)
    return (ParallelProcessor if kind == "Flux2ParallelSelfAttnProcessor" else JointProcessor)(
        site, bridge, replaced
    )


def _heads(attn: Any, qkv: Any, norm_q: Any, norm_k: Any) -> list[Tensor]:
    """Projections (b, tokens, heads d) by heads, q and k normalised."""
    q, k, v = (torch.unflatten(each, -1, (attn.heads, -1)).transpose(1, 2) for each in qkv)
    return [q if norm_q is None else norm_q(q), k if norm_k is None else norm_k(k), v]


def _turned(x: Tensor, places: Tensor) -> Tensor:
    """x (b, heads, tokens, d) with its pairs as complex numbers times `places` (..., tokens, d / 2)."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * places).flatten(3).to(x.dtype)
