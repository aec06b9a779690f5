"""Attention controls inside diffusers' U-Nets (transformers: `_joint`): where their sites are, how they are reached.

Only the sites a control wants are touched; every other layer keeps its fused kernel.

| site | what the control is given |
|---|---|
| self, cross | q, k, v by heads; what it returns goes through the layer's own output projection |
| self_out | a self-attention layer's projected output, before the residual sum (Nam et al. 2024) |
| resnet | a residual block's second convolution's output, before the skip (Tumanyan et al. 2023) |
| mid | the bottleneck's output, the h-space (Kwon et al. 2023) |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from scumble.core.control import AttentionControl, Kind, Now, Site, listed, wanted
from scumble.core.errors import InputError
from scumble.priors._joint import JOINT, PROCESSORS, joint_sites, processor

ATTENDS = ("self", "cross", "joint")


class Bridge:
    """An installed control: passes the moment of a network call to the sites, and checks that all are reached."""

    def __init__(self, control: AttentionControl, wanted: Iterable[Site]):
        self.control = control
        self.now: Now | None = None
        self.unreached = set(wanted)

    @contextmanager
    def call(self, now: Now) -> Generator[None]:
        """One network call. Raises InputError after the first if it passed a wanted site by."""
        self.now = now
        yield
        if self.unreached:
            missed = listed(self.unreached)
            raise InputError(f"control: the network never reached {missed}, so this control has no effect")

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.control.attend(site, q, k, v, self._moment(site))

    def feature(self, site: Site, h: Tensor) -> Tensor:
        return self.control.feature(site, h, self._moment(site))

    def _moment(self, site: Site) -> Now:
        assert self.now is not None, "a controlled network was called outside Prior.predict"
        self.unreached.discard(site)
        return self.now


@contextmanager
def installed(network: nn.Module, control: AttentionControl) -> Generator[Bridge]:
    """Installs the control in the network while the context is open. Processors and hooks are restored afterwards.

    Raises InputError if the control wants none of the network's sites, or for a layer with an unknown kind of
    attention.
    """
    places = sites(network)
    chosen = wanted(control, places)
    for site in chosen:
        if site.kind in ATTENDS:
            _refuse_unknown(site, places[site])
    bridge = Bridge(control, chosen)
    with ExitStack() as restore:
        for site in chosen:
            module = places[site]
            if site.kind in ATTENDS:
                restore.callback(module.set_processor, module.processor)
                joint = site.block in ("double", "single")
                module.set_processor(
                    processor(site, bridge, module.processor) if joint else _Processor(site, bridge)
                )
            else:
                restore.callback(module.register_forward_hook(_hook(site, bridge)).remove)
        yield bridge


def sites(network: nn.Module) -> dict[Site, Any]:
    """Every site of a UNet2DConditionModel, a UNet2DModel or a transformer with joint attention, and the module that is
    listened to there.
    """
    if type(network).__name__ in JOINT:
        return joint_sites(network)
    if not hasattr(network, "down_blocks"):
        return {}
    found: dict[Site, Any] = {}
    counts: Counter[tuple[str, str]] = Counter()

    def add(kind: Kind, part: Any, stride: int, module: nn.Module) -> None:
        found[Site(kind, part, counts[kind, part], stride, counts[kind, ""])] = module
        counts.update([(kind, part), (kind, "")])

    for part, stride, block in _blocks(network):
        for attn in _attentions(block):
            add("cross" if attn.is_cross_attention else "self", part, stride, attn)
            if not attn.is_cross_attention:
                add("self_out", part, stride, attn.to_out[1])  # the dropout that closes the projection
        for resnet in block.resnets:
            add("resnet", part, stride, resnet.conv2)
        if part == "mid":
            add("mid", part, stride, block)
    return found


def _blocks(network: Any) -> Iterator[tuple[str, int, Any]]:
    """(part, stride to the latent, block) in execution order."""
    stride = 1
    for block in network.down_blocks:
        yield "down", stride, block
        stride *= 2 if block.downsamplers else 1
    if network.mid_block is not None:
        yield "mid", stride, network.mid_block
    for block in network.up_blocks:
        yield "up", stride, block
        stride //= 2 if block.upsamplers else 1


def _attentions(block: Any) -> Iterator[Any]:
    from diffusers.models.attention_processor import Attention

    for layer in getattr(block, "attentions", ()):
        yield from (m for m in layer.modules() if isinstance(m, Attention)) if layer is not None else ()


# Processors that compute plain attention, each in its own way.
PLAIN = ("AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor", "_Processor")


def _refuse_unknown(site: Site, attn: Any) -> None:
    """Raises InputError for a layer with more than plain self- or cross-attention."""
    name = type(attn.processor).__name__
    if site.block in ("double", "single") and name in PROCESSORS:
        return
    joint = getattr(attn, "added_kv_proj_dim", None) is not None
    if joint or name not in PLAIN:
        what = "has added key and value projections" if joint else f"attends by a {name}"
        raise InputError(
            f"control: the {site.kind} layer {site.layer} of this network {what}, which no control knows yet; take a "
            "method that leaves attention alone"
        )


class _Processor:
    """diffusers' attention protocol; the control computes the attention itself."""

    def __init__(self, site: Site, bridge: Bridge):
        self.site, self.bridge = site, bridge

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        if attention_mask is not None:
            raise InputError(
                "control: this network masks its attention, which no control knows yet; take a method that leaves "
                "attention alone"
            )
        image = hidden_states.ndim == 4  # UNet2DModel hands the layer a map instead of tokens
        x = hidden_states.flatten(2).transpose(1, 2) if image else hidden_states
        if attn.group_norm is not None:
            x = attn.group_norm(x.transpose(1, 2)).transpose(1, 2)
        context = x if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q, k, v = (
            heads.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for heads in (attn.to_q(x), attn.to_k(context), attn.to_v(context))
        )
        if attn.upcast_attention:  # Stable Diffusion 2.1's products overflow half precision
            q, k = q.float(), k.float()
        heads = self.bridge.attend(self.site, q, k, v).to(x.dtype)
        out = attn.to_out[1](attn.to_out[0](heads.transpose(1, 2).flatten(2)))
        if image:
            out = out.transpose(1, 2).reshape(hidden_states.shape)
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor


def _hook(site: Site, bridge: Bridge) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(module: nn.Module, args: object, output: Tensor) -> Tensor:
        if site.block == "single":  # the picture, which comes first, and the text behind it
            now = bridge.now
            picture = prod(site.grid(now.latent)) if now is not None else 0
            changed = bridge.feature(site, output[:, :picture]).to(output.dtype)
            return torch.cat([changed, output[:, picture:]], 1)
        return bridge.feature(site, output).to(output.dtype)

    return hook
