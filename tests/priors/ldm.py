"""A checkpoint's tensors under the names of the original code, as single files bear them."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn": "attn",
}


def checkpoint(unet: Tensors, vae: Tensors, text: Tensors, kind: str = "sd1", layers: int = 1) -> Tensors:
    """One file's tensors from diffusers' three; `layers` per block of the U-Net."""
    encode = clip if kind == "sd1" else open_clip
    files = {
        "model.diffusion_model.": network(unet, layers),
        "first_stage_model.": codec(vae),
        "cond_stage_model.": encode(text),
    }
    return {prefix + name: t.contiguous() for prefix, part in files.items() for name, t in part.items()}


def network(tensors: Tensors, layers: int) -> Tensors:
    def place(found: re.Match[str]) -> str:
        side, block, kind, i = found[1], int(found[2]), found[3], int(found[4])
        first = block * (layers + 1) + (1 if side == "down" else 0)
        side = "input" if side == "down" else "output"
        if kind in ("resnets", "attentions"):
            return f"{side}_blocks.{first + i}.{0 if kind == 'resnets' else 1}."
        return f"{side}_blocks.{first + layers}." + ("0.op." if kind == "downsamplers" else "2.conv.")

    named: Tensors = {}
    for name, tensor in tensors.items():
        if ".resnets." in name:
            name = replaced(name, RESNET)
        name = name.replace("samplers.0.conv.", "samplers.0.")
        name = re.sub(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.", place, name)
        for i, kind in enumerate(("resnets.0", "attentions.0", "resnets.1")):
            name = name.replace(f"mid_block.{kind}.", f"middle_block.{i}.")
        for ours, theirs in (
            ("conv_in.", "input_blocks.0.0."),
            ("conv_norm_out.", "out.0."),
            ("conv_out.", "out.2."),
        ):
            name = re.sub(rf"^{re.escape(ours)}", theirs, name)
        named[re.sub(r"^time_embedding\.linear_(\d)", lambda m: f"time_embed.{2 * int(m[1]) - 2}", name)] = (
            tensor
        )
    return named


def codec(tensors: Tensors) -> Tensors:
    blocks = 1 + max(int(m[1]) for m in (re.search(r"up_blocks\.(\d+)", name) for name in tensors) if m)
    named: Tensors = {}
    for name, tensor in tensors.items():
        if ".attentions." in name:
            name = replaced(name, ATTENTION).replace("attentions.0", "attn_1")
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor  # once these were convolutions
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{blocks - 1 - int(m[1])}", name)
        name = (
            name.replace("down_blocks", "down")
            .replace("mid_block", "mid")
            .replace("conv_norm_out", "norm_out")
        )
        name = name.replace("resnets", "block").replace("conv_shortcut", "nin_shortcut")
        named[re.sub(r"(down|up)samplers\.0", r"\1sample", name)] = tensor
    return named


def clip(tensors: Tensors) -> Tensors:
    return {f"transformer.text_model.{name}": tensor for name, tensor in tensors.items()}


def open_clip(tensors: Tensors) -> Tensors:
    """With queries, keys and values in one matrix."""
    tops = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    }
    named: Tensors = {"model.text_projection": torch.zeros(16, 16)}
    for name, tensor in tensors.items():
        layer = re.sub(r"^encoder\.layers", "transformer.resblocks", replaced(name, OPEN_CLIP))
        if re.search(r"[qkv]_proj", layer):
            if "q_proj" in layer:
                three = [tensors[name.replace("q_proj", f"{which}_proj")] for which in "qkv"]
                named["model." + layer.replace("q_proj.", "in_proj_")] = torch.cat(three)
            continue
        named[f"model.{tops.get(name, layer)}"] = tensor
    return named


def replaced(name: str, table: Mapping[str, str]) -> str:
    for ours, theirs in table.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name
