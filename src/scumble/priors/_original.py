"""The layers of a network under the names of the original code, and where diffusers keeps them.

The original code keeps queries, keys and values in one matrix, diffusers one by one: rows of a weight, of a
quantised weight and of a LoRA's second matrix are dealt out alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from scumble.priors._original_names import RESNET, TABLES, UNET, Places


class Originals:
    """What the original code calls the layers of a network; nothing for networks of other classes."""

    def __init__(self, network: nn.Module):
        within = cast(Iterable[tuple[str, nn.Module]], network.named_modules())
        self.modules: Mapping[str, Any] = dict(within)
        if type(network).__name__ == "UNet2DConditionModel":
            layers = int(getattr(network, "config")["layers_per_block"])  # noqa: B009
            named = {name: _in_unet(name, layers, self.modules) for name in self.modules}
            self.places: Mapping[str, Places] = {theirs: (ours,) for ours, theirs in named.items() if theirs}
            return
        single, blocks = TABLES.get(type(network).__name__, ({}, {}))
        table: dict[str, Places] = {theirs: (ours,) for theirs, ours in single.items()}
        for (theirs, ours), layers in blocks.items():
            for i in range(len(self.modules[ours])):
                for name, places in layers.items():
                    here = tuple(f"{ours}.{i}.{place}".removesuffix(".") for place in places)
                    table[f"{theirs}.{i}.{name}".removesuffix(".")] = here
        self.places = {
            theirs: places
            for theirs, places in table.items()
            if all(place in self.modules for place in places)
        }

    def deal(self, places: Places, rows: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The rows of an original layer -> each of its layers here, with its rows. Raises RuntimeError for another
        number of rows.
        """
        from diffusers.models.normalization import AdaLayerNormContinuous

        above = self.modules.get(places[0].rpartition(".")[0])
        if isinstance(above, AdaLayerNormContinuous):  # shift and scale are the other way round there
            rows = rows.roll(len(rows) // 2, 0)
        if len(places) == 1:
            yield places[0], rows
            return
        sizes = [int(self.modules[place].out_features) for place in places]
        yield from zip(places, torch.split(rows, sizes), strict=True)

    def rename(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under their original names -> under diffusers'; those that belong to no layer are left out. Weights
        of a class whose layers have one name come back as they are.
        """
        if not self.places:
            return dict(weights)
        ours = dict[str, Tensor]()
        for name, weight in weights.items():
            layer, _, kind = name.rpartition(".")
            for place, rows in self.deal(self.places[layer], weight) if layer in self.places else ():
                ours[f"{place}.{'weight' if kind == 'scale' else kind}".removeprefix(".")] = rows
        return ours


def _in_unet(name: str, layers: int, modules: Mapping[str, Any]) -> str | None:
    """The original name of a U-Net's layer, `layers` to a block; None for what is none."""
    if name in UNET:
        return UNET[name]
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.(.+)", name)
    if middle := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name):
        place = 1 if middle[1] == "attentions" else 2 * int(middle[2])
        return f"middle_block.{place}.{RESNET.get(middle[3], middle[3])}"
    if not found:
        return None
    side, kind, inner = found[1], found[3], found[5]
    number = int(found[2]) * (layers + 1) + (side == "down")
    blocks = "input_blocks" if side == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{blocks}.{number + layers}.0.op"
    if kind == "upsamplers":
        attends = f"up_blocks.{found[2]}.attentions" in modules
        return f"{blocks}.{number + layers}.{1 + attends}.{inner}"
    return f"{blocks}.{number + int(found[4])}.{int(kind == 'attentions')}.{RESNET.get(inner, inner)}"
