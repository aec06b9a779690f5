"""The configs of a loaded pipeline's parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from scumble.core.errors import InputError


def plain(config: Any) -> Mapping[str, Any]:
    """A module's config: diffusers' is a mapping, transformers' is not."""
    return config.to_dict() if hasattr(config, "to_dict") else config


def config(scheduler: Any) -> dict[str, Any]:
    """A live scheduler's config; only one that came from a file says its class."""
    return {**scheduler.config, "_class_name": type(scheduler).__name__}


def refuse_half_t5(name: str, modules: Iterable[nn.Module]) -> None:
    """Raises InputError for a T5 whose feed-forward outputs are in float16, where they overflow."""
    for module in modules:
        wo = [w for key, w in module.named_parameters() if key.endswith("DenseReluDense.wo.weight")]
        if any(weight.dtype == torch.float16 for weight in wo):
            raise InputError(
                f"pipeline {name}: its T5 cannot run in float16, in which it overflows; load it in bfloat16"
            )
