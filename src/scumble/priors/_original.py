"""The names that the original code of SD3, FLUX.1 and the U-Nets gives its layers, and where diffusers keeps them.

The original code keeps queries, keys and values in one matrix, diffusers one by one: rows of a weight, of a
quantised weight and of a LoRA's second matrix are dealt out alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

Places = tuple[str, ...]  # layers of diffusers that share the rows of one layer, in order

SD3: Mapping[str, str] = {
    "": "pos_embed",  # the table of places itself, which is no layer
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
SD3_BLOCK: Mapping[str, Places] = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn.ln_q": ("attn.norm_q",),
    "x_block.attn.ln_k": ("attn.norm_k",),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn2.ln_q": ("attn2.norm_q",),
    "x_block.attn2.ln_k": ("attn2.norm_k",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.ln_q": ("attn.norm_added_q",),
    "context_block.attn.ln_k": ("attn.norm_added_k",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
}
FLUX: Mapping[str, str] = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
FLUX_DOUBLE: Mapping[str, Places] = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
FLUX_SINGLE: Mapping[str, Places] = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
Table = tuple[Mapping[str, str], Mapping[tuple[str, str], Mapping[str, Places]]]
TABLES: Mapping[str, Table] = {
    "SD3Transformer2DModel": (SD3, {("joint_blocks", "transformer_blocks"): SD3_BLOCK}),
    "FluxTransformer2DModel": (
        FLUX,
        {
            ("double_blocks", "transformer_blocks"): FLUX_DOUBLE,
            ("single_blocks", "single_transformer_blocks"): FLUX_SINGLE,
        },
    ),
}
"""By the class of the network: single layers, and those of every block of a kind."""


RESNET: Mapping[str, str] = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET: Mapping[str, str] = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
"""Layers of a U-Net here -> in the original code; layers of transformers inside it have one name."""


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
                    table[f"{theirs}.{i}.{name}"] = tuple(f"{ours}.{i}.{place}" for place in places)
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
        """Weights under their original names -> under diffusers'; those that belong to no layer are left out."""
        ours = dict[str, Tensor]()
        for name, weight in weights.items():
            layer, _, kind = name.rpartition(".")
            for place, rows in self.deal(self.places[layer], weight) if layer in self.places else ():
                ours[f"{place}.{'weight' if kind == 'scale' else kind}"] = rows
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
