"""The card of a checkpoint: its own card.json if it has one, else derived from the configs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from scumble.core.errors import InputError
from scumble.core.prior import Card
from scumble.priors._autoencoders import KINDS
from scumble.priors._conditions import Config
from scumble.priors._families import FAMILIES
from scumble.priors._folder import Folder
from scumble.priors._published import FEW, FEW_OF, distilled, published

LICENCE = "see the checkpoint"


def read_card(folder: Folder, added: Sequence[str] = ()) -> Card:
    """A checkpoint's card: card.json's fields over the configs', and the hash of its content.

    The hash is the sha256 of what decides what the model computes; `added`, a line for each LoRA and the like, is
    part of it. Raises InputError where card.json is not readable or has other fields than a Card.
    """
    file = folder.path / "card.json"
    configs = told(folder)
    fields: dict[str, Any] = {"id": folder.id, **describe(folder.family(), configs)}
    fields["licence"] = folder.licence() or LICENCE
    if distilled(folder):
        fields |= FEW_OF.get(folder.family(), FEW)
    if file.is_file():
        fields |= folder.json(file)
    for name in ("words", "capabilities"):
        if fields.get(name) is not None:
            fields[name] = frozenset(fields[name])
    fields["hash"] = folder.digest()
    if added:
        fields["hash"] = hashlib.sha256("\n".join([fields["hash"], *added]).encode()).hexdigest()
    try:
        return Card(**fields)
    except TypeError as error:
        raise InputError(f"model '{folder.name}': card.json does not describe a model ({error}).") from error


def told(folder: Folder) -> dict[str, Config]:
    """What `describe` reads: the configs of a folder's parts, and model_index.json."""
    return {**{part: folder.config(part) for part in folder.parts}, "model_index": folder.index}


def describe(family: str, configs: Mapping[str, Config]) -> dict[str, Any]:
    """What the configs of a family's parts say, and the values that its authors published for it."""
    if family == "pixel":
        return pixel_card(configs["unet"])
    kin = FAMILIES[family]
    stride = KINDS[kin.parts["vae"]].stride(configs["vae"])
    if kin.network == "unet":
        fields = latent_card(configs["unet"], stride)
    else:
        joint = family not in ("pixart", "sana")
        fields = transformer_card(configs["transformer"], stride, kin.patch, joint=joint)
    return {**fields, **published(family, configs)}


def auto_dtype(folder: Folder) -> Any:
    """The name of the precision that "auto" takes on an accelerator: the card's, else the family's. Raises InputError
    for a card that names none.
    """
    file = folder.path / "card.json"
    said = folder.json(file).get("dtype") if file.is_file() else None
    if said not in (None, "float16", "bfloat16", "float32"):
        raise folder.error(f"card.json: dtype {said!r}", "write float16, bfloat16 or float32")
    return said or folder.kin.half


def kinds() -> dict[str, Card]:
    """A card for each kind of model that reads text, by its name: what all of them can do."""
    unet = {"block_out_channels": (1,) * 4, "down_block_types": ("",) * 4, "sample_size": 64}
    blocks = (1,) * 4
    vae = {
        "block_out_channels": blocks,
        "encoder_block_out_channels": blocks,
        "temperal_downsample": blocks[1:],
    }
    kinds: Mapping[str, tuple[str, Config]] = {
        "SD 1.x / 2.x": ("latent", {}),
        "SDXL": ("sdxl", {}),
        "SD 3 / 3.5": ("sd3", {}),
        "FLUX.1 dev": ("flux", {"guidance_embeds": True}),
        "FLUX.1 schnell": ("flux", {"guidance_embeds": False}),
        "FLUX.2 dev": ("flux2", {}),
        "FLUX.2 klein base": ("klein", {}),
        "FLUX.2 klein": ("klein", {"is_distilled": True}),
        "PixArt": ("pixart", {}),
        "Sana": ("sana", {}),
        "Qwen-Image": ("qwen", {}),
        "Z-Image": ("zimage", {}),
    }
    shared = {"unet": unet, "vae": vae}
    return {
        name: Card(id=name, hash="", **describe(family, {**shared, "transformer": said, "model_index": said}))
        for name, (family, said) in kinds.items()
    }


def transformer_card(network: Config, stride: int, patch: int, *, joint: bool) -> dict[str, Any]:
    """What the config of a transformer on patches of `patch` x `patch` cells says, a cell being `stride` pixels."""
    return {
        "domain": "Photographs and pictures of all kinds.",
        "size": (network.get("sample_size") or 128) * stride,
        "multiple": patch * stride,
        "licence": LICENCE,
        "capabilities": frozenset({"text", "gradient", *(["joint"] if joint else [])}),
    }


def latent_card(unet: Config, stride: int) -> dict[str, Any]:
    """What the config of a text-conditional U-Net on latents says, a cell being `stride` pixels."""
    return {
        "domain": "Photographs and pictures of all kinds.",
        "size": _side(unet) * stride,
        "multiple": stride * 2 ** (len(unet["down_block_types"]) - 1),
        "licence": LICENCE,
        "capabilities": frozenset({"text", "gradient", "control"}),
    }


def pixel_card(unet: Config) -> dict[str, Any]:
    """What the config of an unconditional pixel model says."""
    return {
        "domain": "Pictures like those it was trained on.",
        "size": _side(unet),
        "multiple": 2 ** (len(unet["block_out_channels"]) - 1),
        "capabilities": frozenset({"gradient", "control"}),
    }


def differentiable(network: Any) -> bool:
    """Whether a gradient can go through it: not where weights are quantised, or taken away layer by layer.

    GGUF's layers write their weights out before they multiply: the gradient in their input is right.
    """
    # Asked for with every card, so without the slow ways of torch: parameters() and getattr of what is not there.
    modules: list[dict[str, Any]] = [vars(module) for module in network.modules()]
    hooks: list[Any] = [hook for module in modules if (hook := module.get("_hf_hook")) is not None]
    hooks += [part for hook in hooks for part in getattr(hook, "hooks", ())]
    gguf = str(getattr(network, "quantization_method", "")).lower().endswith("gguf")
    weights: list[Any] = [
        weight for module in modules for weight in module["_parameters"].values() if weight is not None
    ]
    quantised = (getattr(network, "is_quantized", False) and not gguf) or not all(
        weight.is_floating_point() or type(weight).__name__ == "GGUFParameter" for weight in weights
    )
    return not quantised and not any(getattr(hook, "offload", False) for hook in hooks)


def refuse_tuning(id: str, network: Any, memory: Sequence[str]) -> None:
    """Raises InputError for weights that cannot change: quantised, or moved to the device and away again."""
    whole = all(weight.is_floating_point() for weight in network.parameters())
    if not whole or not differentiable(network) or not {"offload", "8bit", "4bit"}.isdisjoint(memory):
        raise InputError(
            f"tuning: the weights of '{id}' are quantised or offloaded; load it unquantised, and without "
            "--memory offload or sequential"
        )


def digest(modules: Iterator[nn.Module]) -> str:
    """sha256 over the names, types, shapes and bytes of all weights in memory, in hexadecimal."""
    total = hashlib.sha256()
    for i, module in enumerate(modules):
        for name, weight in module.state_dict().items():
            total.update(f"{i}\0{name}\0{weight.dtype}\0{tuple(weight.shape)}\n".encode())
            total.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _side(unet: Config) -> int:
    """The side of the latent that a network was made for.

    Folders converted before diffusers 0.9 say 32 of full-size Stable Diffusions, which were trained at 64 and more.
    """
    sample = unet.get("sample_size") or 64
    side = sample if isinstance(sample, int) else max(sample)
    return max(side, 64) if full_size(unet) else side


def full_size(unet: Config) -> bool:
    """Whether the network is as large as Stable Diffusion 1's and 2's."""
    widths = tuple(unet.get("block_out_channels") or ())
    return widths == (320, 640, 1280, 1280) and unet.get("cross_attention_dim") in (768, 1024)
