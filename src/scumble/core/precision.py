"""Which number format is fast on a device. It is measured, because processor names do not show it."""

from __future__ import annotations

import time
import warnings
from functools import cache

import torch
from torch import nn


@cache
def fast_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 if the device is faster in it than in float32, else float32.

    A processor without bfloat16 instructions emulates it, up to 18 times slower than float32, so it is timed once per
    process, for about 50 milliseconds. An accelerator is queried; one that gives no answer uses float32.
    """
    kind = device.partition(":")[0]
    if kind != "cpu":
        supported = getattr(torch.get_device_module(kind), "is_bf16_supported", None)
        return torch.bfloat16 if supported and supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if _seconds(torch.bfloat16) < 0.9 * _seconds(torch.float32) else torch.float32


def warn_if_slow(dtype: torch.dtype, device: str = "cpu") -> None:
    """Warns of bfloat16 on a processor that only emulates it."""
    if device == "cpu" and dtype == torch.bfloat16 != fast_dtype(device):
        warnings.warn(
            "dtype bfloat16: this processor is slower in it than in float32, up to 18 times; leave --dtype out",
            stacklevel=2,
        )


def _seconds(dtype: torch.dtype, rounds: int = 5) -> float:
    """The fastest of a few passes through what a small U-Net spends its time on."""
    layer = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)).to(dtype)
    x, tokens = torch.ones(4, 64, 16, 16, dtype=dtype), torch.ones(4, 256, 64, dtype=dtype)
    taken: list[float] = []
    with torch.inference_mode():
        for _ in range(rounds):
            start = time.perf_counter()
            layer(x)
            torch.matmul(tokens, tokens.mT)
            taken.append(time.perf_counter() - start)
    return min(taken)
