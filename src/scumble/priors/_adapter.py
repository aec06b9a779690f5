"""Low-rank changes of layers that are to be trained, through peft; the layers themselves come back afterwards."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from scumble.core.errors import InputError, MachineError
from scumble.core.noise import Noise
from scumble.core.prior import LowRank


@contextmanager
def adapted(parts: Mapping[str, nn.Module], low_rank: LowRank) -> Generator[dict[str, Tensor]]:
    """Inside, the layers that are meant are peft's; yields the trained matrices "part.layer.weight:up" and ":down".

    Raises InputError where a target matches no layer, MachineError where peft is missing.
    """
    if missing := _unmatched(parts, low_rank.targets):
        layers = sorted(
            {name.rpartition(".")[2] for part in parts.values() for name in _layers(part)} - {"0"}
        )
        raise InputError(
            f"targets: {', '.join(missing)} matches no layer of this model; layers are called, for example, "
            f"{', '.join(layers[:12])}"
        )
    try:
        import peft  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise MachineError(
            "peft is missing, which trains LoRAs; install it with pip install 'scumble[train]'"
        ) from None
    noise, matrices = Noise(low_rank.seed), dict[str, Tensor]()
    with ExitStack() as undo:
        for name, module in parts.items():
            wanted = [layer for layer in _layers(module) if _matches(layer, low_rank.targets)]
            if wanted:
                undo.enter_context(_injected(module, wanted, low_rank))
            for layer in wanted:
                matrices |= _drawn(f"{name}.{layer}.weight", module.get_submodule(layer), noise)
        yield matrices


@contextmanager
def _injected(module: nn.Module, layers: list[str], low_rank: LowRank) -> Generator[None]:
    from peft import LoraConfig, inject_adapter_in_model

    kept = {layer: module.get_submodule(layer) for layer in layers}
    wanted = {name: weight.requires_grad for name, weight in module.named_parameters()}
    attributes = {*vars(module)}
    make: Any = LoraConfig  # its stubs take whole numbers alone
    config = make(
        r=low_rank.rank, lora_alpha=low_rank.alpha, target_modules=list(layers), lora_dropout=0.0, bias="none"
    )
    try:
        inject: Any = inject_adapter_in_model
        generators: Any = torch.random
        with generators.fork_rng([]):  # peft draws from the global generator; its draws are replaced
            inject(config, module)
        yield
    finally:
        for layer, own in kept.items():
            parent, _, name = layer.rpartition(".")
            setattr(module.get_submodule(parent), name, own)
        for name in [name for name in vars(module) if name not in attributes]:
            delattr(module, name)
        for name, weight in module.named_parameters():
            weight.requires_grad_(wanted[name])


def _drawn(weight: str, layer: Any, noise: Noise) -> dict[str, Tensor]:
    """A layer's two matrices in float32: down of variance 1 / r^2, as in diffusers' scripts, and up zero."""
    layer.lora_A.float()
    layer.lora_B.float()
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        draws = noise.like(down.detach().reshape(1, 1, len(down), -1))
        down.copy_(draws.reshape(down.shape) / len(down))
        up.zero_()
    return {f"{weight}:up": up, f"{weight}:down": down}


def _layers(module: nn.Module) -> list[str]:
    """The layers that can have a low-rank change."""
    whole: Any = module  # torch's annotations leave the names open
    return [name for name, layer in whole.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def _matches(layer: str, targets: Sequence[str]) -> bool:
    return any(layer == end or layer.endswith(f".{end}") for end in targets)


def _unmatched(parts: Mapping[str, nn.Module], targets: Sequence[str]) -> list[str]:
    """The targets that match no layer."""
    layers = [layer for part in parts.values() for layer in _layers(part)]
    return [end for end in targets or ["(none)"] if not any(_matches(layer, [end]) for layer in layers)]


@contextmanager
def checkpointed(network: Any, id: str) -> Generator[None]:
    """Inside, backward passes compute the network's activations again, block by block. Raises InputError for a network
    of the model `id` that cannot.
    """
    if not getattr(network, "_supports_gradient_checkpointing", False):
        raise InputError(
            f"checkpointing: the network of '{id}' cannot compute its activations again; leave it out"
        )
    before = network.is_gradient_checkpointing
    network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if not before:
            network.disable_gradient_checkpointing()
