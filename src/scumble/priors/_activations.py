"""How much memory the pictures take beside the weights: activations, from a checkpoint's configs and the canvas.

Numbers alive at once, per row, with fused attention and no gradient (a gradient keeps those of every layer):

| part | at its widest | numbers |
|---|---|---|
| transformer | a feed-forward of width 4 D, its gate and its input, over all tokens | 18 D (patches + text) |
| U-Net | all skips; at one level a residual block (3 inputs), or a feed-forward as above | their sum, at the widest |
| codec | the last residual block, which takes the second width at the picture's size | 3 C_1 H W |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from scumble.priors._autoencoders import KINDS
from scumble.priors._conditions import Config
from scumble.priors._families import FAMILIES

FEED_FORWARD, RESIDUAL = 18, 3
TEXT_ROWS: Mapping[str, int] = {  # that stand among the patches; other families attend to text apart
    "sd3": 77 + 256, "flux": 512, "flux2": 512, "klein": 512, "qwen": 512, "zimage": 512,
}  # fmt: skip


def activations(
    family: str, configs: Mapping[str, Config], size: tuple[int, int], rows: int = 1
) -> dict[str, int]:
    """Numbers alive at once in "network" and "codec" on a canvas (H, W), for so many rows of a batch."""
    kin = FAMILIES[family]
    network, vae, place = configs[kin.network], configs["vae"], kin.parts["vae"]
    stride = KINDS[place].stride(vae)
    cells = prod(side // stride for side in size)
    if kin.network == "unet":
        inner = _unet(network, cells)
    else:
        width = network.get("dim") or network["attention_head_dim"] * network["num_attention_heads"]
        inner = FEED_FORWARD * width * (cells // kin.patch**2 + TEXT_ROWS.get(family, 0))
    return {"network": rows * inner, "codec": rows * RESIDUAL * _codec_width(vae) * prod(size)}


def _codec_width(vae: Config) -> int:
    """C_1: of what comes up to the picture's size."""
    if "dim_mult" in vae:
        widths: Sequence[int] = [vae["base_dim"] * each for each in vae["dim_mult"]]
    else:
        widths = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    return widths[min(1, len(widths) - 1)]


def _unet(unet: Config, cells: int) -> int:
    widths, layers = unet["block_out_channels"], unet.get("layers_per_block", 2)
    layers = [layers] * len(widths) if isinstance(layers, int) else layers
    skips, widest, last = widths[0] * cells, 0, len(widths) - 1
    for level, (width, block) in enumerate(zip(widths, unet["down_block_types"], strict=True)):
        there = cells // 4**level
        skips += width * there * layers[level] + (width * there // 4 if level < last else 0)
        above = widths[min(level + 1, last)]
        residual = RESIDUAL * (width + above) * there
        widest = max(widest, residual, FEED_FORWARD * width * there if "CrossAttn" in block else 0)
    return skips + widest
