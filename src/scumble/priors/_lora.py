"""LoRA files (Hu et al. 2022), merged into the weights once: W + weight * alpha / r * up @ down.

Merged weights cost nothing afterwards, need no adapter library and pass through every precision and memory
setting. Two ways of naming are read: kohya's (A1111, ComfyUI: module names with underscores, an alpha each) and
diffusers' (dotted names; alpha, where it is not r, in the header), in the forms that either has had over time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.places import exists, home
from scumble.priors._added import AddedFile
from scumble.priors._foreign import FOREIGN, PEFT, foreign

# How a tensor's name ends -> its role; what stands before is the module's name.
ENDINGS = {
    **{f"{middle}{end}.weight": end for middle in (".lora_", ".lora.", "_lora.") for end in ("down", "up")},
    **{f".lora_linear_layer.{end}.weight": end for end in ("down", "up")},
    **{f".lora_{end}.weight": role for end, role in (("A", "down"), ("B", "up"))},
    ".alpha": "alpha",
}
PREFIXES = {
    "unet": ("unet.", "lora_unet_"),
    "text_encoder": ("text_encoder.", "lora_te_", "lora_te1_"),
}
HEADER = "lora_adapter_metadata"  # where diffusers writes alpha


@dataclass(frozen=True)
class LoRA(AddedFile):
    """A LoRA file and its weight; 1 is the weight it was trained with."""

    weight: float

    @classmethod
    def parse(cls, spec: str) -> Self:
        """ "FILE" or "FILE:0.8". Raises InputError where there is no such .safetensors file."""
        name, colon, tail = spec.rpartition(":")
        weight = 1.0
        if colon and not exists(home(spec)) and re.fullmatch(r"[-+]?\d*\.?\d+", tail):
            spec, weight = name, float(tail)
        absent = "there is no such file; write --lora FILE or --lora FILE:0.8"
        return cls.named("lora", spec, absent, weight=weight)

    @property
    def passport(self) -> dict[str, object]:
        """How a result's passport describes it; without folders."""
        return {**super().passport, "weight": self.weight}

    def merge(self, parts: Mapping[str, nn.Module]) -> None:
        """Add it to the weights of "unet" and "text_encoder", in place, computed in float32.

        Raises InputError for a file that cannot be read, is another kind of add-on, or fits another model.
        """
        tensors, header = self._read()
        layers = self._layers(tensors)
        weights = _weights(parts)
        strangers = sorted(name for name in layers if _canonical(name) not in weights)
        if strangers:
            raise self.error(
                f"{len(strangers)} of its {len(layers)} layers are not in this model ({strangers[0]}, ...)",
                "it was made for another kind of model; scumble reads LoRAs for Stable Diffusion 1.x / 2.x",
            )
        for name, layer in layers.items():
            part, _ = key = _canonical(name)
            alpha = layer.get("alpha", header.get(f"{part}.lora_alpha"))
            self._add(weights[key], name, layer, alpha)

    @torch.no_grad()
    def _add(self, weight: Tensor, name: str, layer: Mapping[str, Tensor], alpha: Any) -> None:
        if not {"up", "down"} <= set(layer):
            raise self.error(f"{name} has only one of its two matrices", "download it again")
        down, up = (layer[role].to(weight.device, torch.float32) for role in ("down", "up"))
        rank = down.shape[0]
        scale = self.weight * (1.0 if alpha is None else float(alpha) / rank)
        try:  # a convolution's matrices are (r, in, k, k) and (out, r, 1, 1)
            delta = (up.reshape(-1, rank) @ down.reshape(rank, -1)).reshape(weight.shape)
        except RuntimeError as error:
            wrong = f"{name} is {tuple(up.shape)} x {tuple(down.shape)}, the model's {tuple(weight.shape)}"
            raise self.error(wrong, "it was made for another model") from error
        weight.copy_(weight.float() + scale * delta)

    def _read(self) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        tensors, texts = self.read()
        try:
            header = json.loads(texts.get(HEADER, "{}"))
        except ValueError as error:
            raise self.error(f"cannot be read ({error})", "download it again") from error
        odd = [
            key
            for key, value in header.items()
            if value and re.search(r"alpha_pattern|use_(dora|rslora)", key)
        ]
        if odd:
            raise self.error(f"its header asks for {odd[0]}", "only plain LoRAs are read")
        return tensors, header

    def _layers(self, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The tensors by layer and role."""
        layers: dict[str, dict[str, Tensor]] = {}
        if any(name.startswith(PEFT) for name in tensors):
            raise InputError(f"lora '{self.file.name}': {FOREIGN[PEFT]}.")
        for key, tensor in tensors.items():
            ending = next((ending for ending in ENDINGS if key.endswith(ending)), None)
            if ending is None and key.startswith(("model.", "cond_stage_model.", "first_stage_model.")):
                raise self.error("it is a whole checkpoint, not a LoRA", "give it with --model")
            if ending is None and not any("lora" in name or "hada" in name for name in tensors):
                what = foreign(tensors)
                if what:
                    raise InputError(f"lora '{self.file.name}': {what}.")
            if ending is None:
                raise self.error(f"it holds {key!r}", "only plain LoRAs are read, no LoHa, LoKr or DoRA")
            layers.setdefault(key.removesuffix(ending), {})[ENDINGS[ending]] = tensor
        if not layers:
            raise self.error("it holds nothing", "download it again")
        return layers


def _weights(parts: Mapping[str, nn.Module]) -> dict[tuple[str, str], Tensor]:
    """Every matrix and kernel by part and module name."""
    return {
        _canonical(f"{part}.{name}"): module.weight
        for part in PREFIXES
        for name, module in parts[part].named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def _canonical(name: str) -> tuple[str, str]:
    """Any way to name a module -> (part, its name with underscores); names without a part are the network's."""
    part, rest = "unet", name
    for candidate, prefixes in PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(prefix):
                part, rest = candidate, name.removeprefix(prefix)
    rest = rest.replace(".processor.", ".").replace(".", "_").removeprefix("text_model_")
    return part, re.sub("_to_out$", "_to_out_0", rest)
