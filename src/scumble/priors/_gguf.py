"""Quantised weights of a transformer in a .gguf file: llama.cpp's format, whose blocks of a row share a scale.

The weights stay quantised in memory; every call writes them out in the network's precision, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn


def read_gguf(path: Path, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of these names. Quantised ones are diffusers' GGUFParameter, whose columns are bytes."""
    from diffusers.models import model_loading_utils

    loading: Any = model_loading_utils
    read: dict[str, Tensor] = loading.load_gguf_checkpoint(path)
    return {name: tensor for name, tensor in read.items() if name in names}


def prepare(network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The network's layers of quantised weights become layers that read them; all other weights, in `dtype`, come
    back. Raises ValueError for quantised weights of another shape.
    """
    from diffusers.quantizers.gguf import utils as untyped
    from gguf import GGMLQuantizationType

    utils: Any = untyped
    modules = dict(cast(Iterable[tuple[str, nn.Module]], network.named_modules()))
    quantised, plain = dict[str, Any](), dict[str, Tensor]()
    stored: Mapping[str, Any] = weights
    for name, weight in stored.items():
        layer, _, kind = name.rpartition(".")
        like: Any = getattr(modules[layer], kind)
        if not isinstance(weight, utils.GGUFParameter):
            plain[name] = weight.to(dtype).reshape(like.shape)
        elif (
            kind == "weight"
            and isinstance(modules[layer], nn.Linear)
            and weight.quant_type != GGMLQuantizationType.BF16
        ):
            if tuple(weight.quant_shape) != tuple(like.shape):
                raise ValueError(f"{name} is {tuple(weight.quant_shape)}, not {tuple(like.shape)}")
            quantised[name] = weight
        else:
            plain[name] = utils.dequantize_gguf_tensor(weight).to(dtype).reshape(like.shape)
    utils._replace_with_gguf_linear(network, dtype, quantised)
    for name, weight in quantised.items():
        layer, _, kind = name.rpartition(".")
        setattr(network.get_submodule(layer), kind, weight)
    return plain
