"""The weights of a single file, renamed and put into the modules of diffusers and transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from scumble.priors._families import load_class
from scumble.priors._gguf import prepare, read_gguf
from scumble.priors._original import Originals
from scumble.priors._recognise import CLIP_L, beginning
from scumble.priors._single_file import DAMAGE, SingleFile

Weights = dict[str, Tensor]
Rename = Callable[[Any, Weights, str], Weights]


def load_modules(
    file: SingleFile, device: torch.device, precision: Callable[[str], torch.dtype]
) -> tuple[dict[str, nn.Module], SingleFile]:
    """The parts that the file holds, each in its precision, and the file with what loading found out about it.

    Where the file does not say what its U-Net predicts, it is asked on the device, in float32 unless it is SDXL's,
    which is large: half precision is slow on a CPU and can overflow. Raises InputError for weights that are missing
    or have another shape than the family's, and for a network that answers with no numbers.
    """
    outside = file.outside()
    modules = {part: load_module(file, part, precision(part)) for part in file.parts if part not in outside}
    if "unet" in modules and file.prediction is None:
        agreement = echo(
            modules["unet"].to(device, precision("unet") if file.kind == "sdxl" else torch.float32)
        )
        if not math.isfinite(agreement):
            raise file.error("its network returns values that are not numbers (NaN)", DAMAGE)
        # As it was: float32 holds every half-precision number.
        modules["unet"].to(device, precision("unet"))
        file = replace(file, prediction="epsilon" if agreement > 0.5 else "v_prediction")
    return modules, file


def load_module(file: SingleFile, part: str, dtype: torch.dtype) -> nn.Module:
    """The module of a part that the file holds, with its weights. Raises InputError as `load_modules` does."""
    from accelerate import init_empty_weights  # pyright: ignore[reportMissingTypeStubs]

    begin, cls = beginning(file.kind, part, file.shapes), load_class(file.kin.parts[part])
    assert begin is not None
    with init_empty_weights():
        config = dict(file.config(part))
        text = part.startswith("text_encoder")
        module: Any = cls(cls.config_class(**config)) if text else cls.from_config(config)
    wanted = set(module.state_dict())
    try:
        weights = _rename(part, module, _read(file, begin), begin)
        weights = {name: weight for name, weight in weights.items() if name in wanted}
        absent = sorted(wanted - set(weights))
        if file.quantised:
            weights = prepare(module, weights, dtype)
        # Copied out of the mapped file, where they lie unaligned: other kernels would round other last bits.
        weights = {name: weight.to(_kept(module, name, dtype), copy=True) for name, weight in weights.items()}
        module.load_state_dict(weights, strict=False, assign=True)
        if text:
            module.tie_weights()
    except Exception as error:  # a file that lies about itself can fail anywhere in the renaming
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        wrong = f"its {part} cannot be read as {file.kind.upper()} ({reason})"
        raise file.error(wrong, "download it again, or use another checkpoint") from error
    if absent:
        wrong = f"its {part} lacks {len(absent)} of its weights ({absent[0]}, ...)"
        raise file.error(wrong, DAMAGE)
    return module


def _read(file: SingleFile, begin: str) -> Weights:
    from safetensors import safe_open

    names = {name: None for name in file.shapes if name.startswith(begin)}
    if file.quantised:
        return read_gguf(file.file, names)
    opened: Any = safe_open(file.file, "pt")  # its stubs say nothing
    with opened as stored:
        return {name: stored.get_tensor(name) for name in names}


def _kept(module: nn.Module, name: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of a weight: T5 keeps in float32 what overflows in float16."""
    wide = getattr(module, "_keep_in_fp32_modules", None) or ()
    narrow = dtype == torch.float16 and any(part in wide for part in name.split("."))
    return torch.float32 if narrow else dtype


def _rename(part: str, module: Any, weights: Weights, begin: str) -> Weights:
    """The weights of a part under the names of its module."""
    from diffusers.loaders import single_file_utils

    convert: Any = single_file_utils
    if part == "unet":
        return convert.convert_ldm_unet_checkpoint(weights, module.config)
    if part == "vae":
        return convert.convert_ldm_vae_checkpoint(weights, module.config)
    if part == "transformer":
        return Originals(module).rename(_without(begin, weights))
    if begin.endswith(".model."):
        renamed: Weights = convert.convert_open_clip_checkpoint(module, weights, prefix=begin)
    else:
        renamed = _without(begin, weights)
    wanted = module.state_dict()
    if "shared.weight" in renamed:  # T5's table of words has two names
        return {**renamed, "encoder.embed_tokens.weight": renamed["shared.weight"]}
    if begin in CLIP_L and "text_projection.weight" in wanted:  # SD3 reads its pooled row as it is
        return {**renamed, "text_projection.weight": torch.eye(module.config.hidden_size)}
    if not any(name.startswith("text_model.") for name in wanted):
        return {name.removeprefix("text_model."): weight for name, weight in renamed.items()}
    return renamed


def _without(begin: str, weights: Mapping[str, Tensor]) -> Weights:
    return {name.removeprefix(begin): weight for name, weight in weights.items()}


def echo(unet: Any) -> float:
    """How far the output of a network at the last time, where all is noise, repeats its input: the correlation.

    One that predicts eps does: near 1. v = alpha eps - sigma x0 there is close to -x0, which has nothing to do
    with the noise: near 0. NaN where the network overflows.
    """
    from scumble.core.noise import Noise

    config = unet.config
    x = Noise(0).like(torch.empty(1, config["in_channels"], 32, 32, device=unet.device)).to(unet.dtype)
    tokens = x.new_zeros(1, 77, config["cross_attention_dim"])
    told: dict[str, Any] = {}
    if config.get("addition_embed_type") == "text_time":  # SDXL
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        canvas = torch.tensor([[1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0]], device=x.device)
        told["added_cond_kwargs"] = {"text_embeds": tokens.new_zeros(1, pooled), "time_ids": canvas}
    with torch.no_grad():
        out = unet(x, torch.tensor([999], device=x.device), tokens, **told, return_dict=False)[0].float()
    return torch.corrcoef(torch.stack([x.float().flatten(), out.flatten()]))[0, 1].item()
