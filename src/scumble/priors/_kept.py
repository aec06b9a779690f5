"""What a gradient keeps: the numbers of every layer that the way back reads again, from a checkpoint's configs.

Where the weights are constant and attention is fused, as in every edit that takes a gradient through the network or
the codec. Per row:

| part | keeps | numbers |
|---|---|---|
| transformer | of a layer the inputs of norms, gates and activations, q, k, v, attention's output | LAYER D tokens |
| U-Net | of a residual block what its norms, activations and convolutions read | 3 (in + out) cells |
| | of a transformer's layer, whose feed-forward keeps 12 | 21 D cells |
| codec | of a residual block the same as a U-Net's | 3 (in + out) pixels |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from scumble.priors._activations import TEXT_ROWS
from scumble.priors._autoencoders import KINDS
from scumble.priors._conditions import Config
from scumble.priors._families import DC_AE, FAMILIES, QWEN_VAE

RESIDUAL, ATTENTION, AROUND = (
    3,
    21,
    2,
)  # AROUND: of a U-Net's transformer, the norm and the projections about it
LAYER: Mapping[str, float] = {
    "sd3": 10, "flux": 13.5, "flux2": 20, "klein": 20, "qwen": 16, "pixart": 12, "sana": 36, "zimage": 30,
}  # fmt: skip
"""Numbers that a layer keeps per token and width D: counted on layers of the published width."""
NORMED, DUAL = 6, 9.5  # more of SD 3.5: its norms of q and k, and a second attention
SOURCES: Mapping[str, float] = {QWEN_VAE: 1.75, DC_AE: 1.05}
"""How much more than AutoencoderKL other codecs keep: norms in more steps, padded copies, several scales."""


def kept(family: str, configs: Mapping[str, Config], size: tuple[int, int]) -> dict[str, int]:
    """Numbers that one row keeps in "network" and, where its latent is decoded, in "codec", on a canvas (H, W)."""
    kin = FAMILIES[family]
    network, vae, place = configs[kin.network], configs["vae"], kin.parts["vae"]
    stride = KINDS[place].stride(vae)
    cells = prod(side // stride for side in size)
    if kin.network == "unet":
        inner = sum(_unet(network, cells))
    else:
        width = network.get("dim") or network["attention_head_dim"] * network["num_attention_heads"]
        tokens = cells // kin.patch**2 + TEXT_ROWS.get(family, 0)
        inner = width * tokens * _layers(family, network)
    return {
        "network": int(inner),
        "codec": int(sum(_decoder(vae, prod(size))) * SOURCES.get(place, 1)),
    }


def _layers(family: str, network: Config) -> float:
    """Numbers of all layers, per token and width."""
    blocks = ("num_layers", "num_single_layers", "n_layers", "n_refiner_layers")
    layers, each = sum(network.get(name) or 0 for name in blocks), LAYER[family]
    if family != "sd3":
        return layers * each
    normed = NORMED if network.get("qk_norm") else 0
    return layers * (each + normed) + DUAL * len(network.get("dual_attention_layers") or ())


def _unet(unet: Config, cells: int) -> Iterator[int]:
    widths: Sequence[int] = unet["block_out_channels"]
    down, up, last = unet["down_block_types"], unet["up_block_types"], len(widths) - 1
    layers, deep = _each(unet.get("layers_per_block", 2), last + 1), _depths(unet, last + 1)

    def attention(level: int, there: int, block: str) -> int:
        return (ATTENTION * deep[level] + AROUND) * widths[level] * there if "CrossAttn" in block else 0

    now, skips = widths[0], [widths[0]]
    for level, width in enumerate(widths):
        there = cells // 4**level
        for _ in range(layers[level]):
            yield RESIDUAL * (now + width) * there + attention(level, there, down[level])
            now = width
            skips.append(now)
        if level < last:
            skips.append(now)
    there = cells // 4**last
    yield RESIDUAL * 4 * now * there + attention(last, there, "CrossAttn")
    for level in reversed(range(last + 1)):
        there, width = cells // 4**level, widths[level]
        for _ in range(layers[level] + 1):
            yield RESIDUAL * (now + skips.pop() + width) * there + attention(level, there, up[last - level])
            now = width
        if level:
            yield 4 * now * there


def _decoder(vae: Config, pixels: int) -> Iterator[int]:
    """Of the codec's way up to so many pixels."""
    if "dim_mult" in vae:
        widths: Sequence[int] = [vae["base_dim"] * each for each in vae["dim_mult"]]
    else:
        widths = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    blocks = (
        vae.get("layers_per_block") or vae.get("num_res_blocks") or vae.get("decoder_layers_per_block", 1)
    )
    layers, last = _each(blocks, len(widths)), len(widths) - 1
    now, there = widths[last], pixels // 4**last
    yield RESIDUAL * 4 * now * there
    for level in reversed(range(last + 1)):
        there, width = pixels // 4**level, widths[level]
        for _ in range(layers[level] + 1):
            yield RESIDUAL * (now + width) * there
            now = width
        yield (4 if level else RESIDUAL) * now * there


def _depths(unet: Config, levels: int) -> Sequence[int]:
    deep = unet.get("transformer_layers_per_block", 1)
    return _each(deep if isinstance(deep, int) else [_first(each) for each in deep], levels)


def _first(each: int | Sequence[int]) -> int:
    return each if isinstance(each, int) else max(each)


def _each(value: int | Sequence[int], levels: int) -> Sequence[int]:
    return [value] * levels if isinstance(value, int) else value
