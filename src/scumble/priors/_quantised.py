"""Matrices of a network in 8 or 4 bits: codes and, for every 64 numbers of a row, their largest magnitude.

8 bits are even steps; 4 bits are NormalFloat (Dettmers et al. 2023, arXiv:2305.14314, section 3): the levels are
quantiles of a normal distribution, which weights follow. A matrix is written out for each product, also for the
gradient, and never kept. Needs no other package and no accelerator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

BLOCK = 64  # numbers of a row that share a scale
BITS: Mapping[str, int] = {"8bit": 8, "4bit": 4}  # by the name in --memory
BYTES: Mapping[int, float] = {
    bits: bits / 8 + 4 / BLOCK for bits in BITS.values()
}  # of a number, with its scale


@cache
def levels(bits: int) -> Tensor:
    """The values in [-1, 1] that codes stand for, rising; (255,) or (16,)."""
    if bits == 8:
        return torch.linspace(-1, 1, 255)
    # Zero exactly, eight quantiles above and seven below; the outermost lie between the tail's half and a thirtieth.
    outermost = 1 - (1 / 32 + 1 / 30) / 2
    special: Any = torch.special
    above: Tensor = special.ndtri(torch.linspace(outermost, 0.5, 9, dtype=torch.float64)[:-1])
    below: Tensor = -special.ndtri(torch.linspace(outermost, 0.5, 8, dtype=torch.float64)[:-1])
    values = torch.cat([below, torch.zeros(1, dtype=torch.float64), above.flip(0)])
    return (values / values.abs().max()).float()


class QuantisedLinear(nn.Module):
    """A linear layer whose matrix is in 8 or 4 bits. `weight` writes it out, in the precision it came in."""

    codes: Tensor
    scales: Tensor
    table: Tensor
    bias: nn.Parameter | None

    def __init__(self, linear: nn.Linear, bits: int, device: torch.device | None = None):
        """Quantised on `device`, by default where the layer is; its codes are where the layer is."""
        super().__init__()
        self.in_features, self.out_features, self.bits = linear.in_features, linear.out_features, bits
        self.dtype = linear.weight.dtype
        home = linear.weight.device
        rows = torch.unflatten(linear.weight.detach().to(device or home, torch.float32), -1, (-1, BLOCK))
        scales = rows.abs().amax(-1)
        table = levels(bits).to(rows.device)
        middles = (table[1:] + table[:-1]) / 2
        codes = (
            torch.bucketize(rows / scales.clamp(min=1e-30)[..., None], middles).flatten(-2).to(torch.uint8)
        )
        if bits == 4:
            codes = codes[..., ::2] | codes[..., 1::2] << 4
        self.register_buffer("codes", codes.to(home))
        self.register_buffer("scales", scales.to(home))
        self.register_buffer("table", table.to(home))
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """(out, in)."""
        codes = self.codes
        if self.bits == 4:
            codes = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
        values = nn.functional.embedding(codes.int(), self.table[:, None]).squeeze(-1)
        return (torch.unflatten(values, -1, (-1, BLOCK)) * self.scales[..., None]).flatten(-2).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        apply: Any = getattr(_Product, "apply")  # noqa: B009  # torch does not say its type
        product: Tensor = apply(x, self)
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    """x W^T, which keeps no W for the gradient: whole networks would be written out at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        return nn.functional.linear(x, layer.weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.weight, None


def quantise(module: nn.Module, bits: int, device: torch.device | None = None) -> None:
    """Replaces the linear layers of the module's blocks, in place; the first and last layers stay as they are."""
    tree: Any = module
    layers: dict[str, nn.Module] = dict(tree.named_modules())
    for name, layer in layers.items():
        whole = (
            type(layer) is nn.Linear and layer.in_features % BLOCK == 0 and layer.weight.is_floating_point()
        )
        if whole and re.search(r"\.\d+\.", name):
            above, _, last = name.rpartition(".")
            setattr(module.get_submodule(above), last, QuantisedLinear(cast(nn.Linear, layer), bits, device))
