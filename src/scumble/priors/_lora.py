"""LoRA files (Hu et al. 2022), merged into the weights once: W + weight * alpha / r * up @ down.

Merged weights cost nothing afterwards, need no adapter library and pass through every precision and memory
setting. Read are kohya's names (A1111, ComfyUI: module names with underscores, an alpha each), diffusers' (dotted
names; alpha, where it is not r, in the header), in the forms that either has had over time, and XLabs'; layers are
called as in diffusers or as in the original code, whose fused matrices are dealt out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.places import exists, home
from scumble.priors._added import AddedFile
from scumble.priors._foreign import FOREIGN, LYCORIS, PEFT, foreign
from scumble.priors._original import Originals, Places

# How a tensor's name ends -> its role; what stands before is the module's name.
ENDINGS = {
    **{f"{middle}{end}.weight": end for middle in (".lora_", ".lora.", "_lora.") for end in ("down", "up")},
    **{f".lora_linear_layer.{end}.weight": end for end in ("down", "up")},
    **{f".lora_{end}.weight": role for end, role in (("A", "down"), ("B", "up"))},
    ".alpha": "alpha",
}
NETWORK = "network"  # the part that is asked for noise, "unet" or "transformer"
PREFIXES: Mapping[str, tuple[str, ...]] = {  # diffusers', ComfyUI's and kohya's
    NETWORK: (
        "unet.",
        "transformer.",
        "model.diffusion_model.",
        "diffusion_model.",
        "lora_unet_",
        "lora_transformer_",
    ),
    "text_encoder": ("text_encoder.", "lora_te_", "lora_te1_"),
    "text_encoder_2": ("text_encoder_2.", "lora_te2_"),
    "text_encoder_3": ("text_encoder_3.", "lora_te3_"),
}
# Names of some exports, as they are elsewhere.
ALIASES = {r"(^|\.)sformer_blocks\.": r"\1transformer_blocks.", r"\.default\.weight$": ".weight"}
# XLabs': attention processors of FLUX.1 with two pairs, of the picture and of the text.
XLABS = {
    r"(double_blocks\.\d+)\.processor\.(qkv|proj)_lora1\.": r"\1.img_attn.\2.lora.",
    r"(double_blocks\.\d+)\.processor\.(qkv|proj)_lora2\.": r"\1.txt_attn.\2.lora.",
    r"(single_blocks\.\d+)\.processor\.qkv_lora\.": r"\1.qkv.lora.",
    r"(single_blocks\.\d+)\.processor\.proj_lora\.": r"\1.linear2.lora.",
}
# A piece of a layer's name -> the family that has such layers.
SIGNS = {
    "stream_modulation": "FLUX.2", "to_qkv_mlp_proj": "FLUX.2", "adaLN_modulation_0": "Z-Image",
    "adaLN_modulation.0": "Z-Image", "feed_forward": "Z-Image", "img_mod": "Qwen-Image", "img_mlp.net": "Qwen-Image",
    "img_mlp_net": "Qwen-Image", "double_blocks": "FLUX.1", "single_blocks": "FLUX.1",
    "single_transformer_blocks": "FLUX.1", "joint_blocks": "Stable Diffusion 3", "text_encoder_2": "SDXL",
    "lora_te2_": "SDXL",
}  # fmt: skip
WIDTHS = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    2048: "SDXL",
}  # of the text that is attended to
OTHERS = "take a plain LoRA, or merge it elsewhere and name the merged model"
Layers = dict[str, dict[str, Tensor]]  # by layer and role
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
        if colon and not exists(home(spec)) and re.fullmatch(r"[-+]?\d*\.?\d+([eE][-+]?\d+)?", tail):
            spec, weight = name, float(tail)
        absent = "there is no such file; write --lora FILE or --lora FILE:0.8"
        return cls.named("lora", spec, absent, weight=weight)

    @property
    def passport(self) -> dict[str, object]:
        """How a result's passport describes it; without folders."""
        return {**super().passport, "weight": self.weight}

    def merge(self, parts: Mapping[str, Any], title: str, *, alone: bool = False) -> None:
        """Add it to the weights of a model of the family `title`, in place, computed in float32. `alone`: what belongs
        to other parts is left out.

        Raises InputError for a file that cannot be read, is another kind of add-on, or fits another model, and for
        quantised weights.
        """
        tensors, header = self._read()
        layers = self._layers(tensors)
        targets = _targets(parts)
        strangers = sorted(name for name in layers if _canonical(name) not in targets)
        if alone:
            layers = {name: layer for name, layer in layers.items() if name not in strangers}
        elif strangers:
            wrong = (
                f"{len(strangers)} of its {len(layers)} layers are not in this model ({strangers[0]}, ...)"
            )
            raise self.error(wrong, self._made_for(layers, title))
        for name, target in _once({name: targets[_canonical(name)] for name in layers}):
            layer = layers[name]
            alpha = layer.get("alpha", header.get(f"{target.part}.lora_alpha"))
            self._add(target, name, layer, alpha, title, layers)

    @torch.no_grad()
    def _add(
        self, target: Target, name: str, layer: Mapping[str, Tensor], alpha: Any, title: str, layers: Layers
    ) -> None:
        if not {"up", "down"} <= set(layer):
            raise self.error(f"{name} has only one of its two matrices", "download it again")
        weight = target.names.modules[target.places[0]].weight
        down, up = (layer[role].to(weight.device, torch.float32) for role in ("down", "up"))
        rank = down.shape[0]
        scale = self.weight * (1.0 if alpha is None else float(alpha) / rank)
        try:  # a convolution's matrices are (r, in, k, k) and (out, r, 1, 1)
            for place, rows in target.deal(up.reshape(-1, rank)):
                weight = target.names.modules[place].weight
                if not weight.is_floating_point():
                    wrong = "the model's weights are quantised, and a LoRA cannot be added to them"
                    raise self.error(wrong, "load the model unquantised")
                delta = (rows @ down.reshape(rank, -1)).reshape(weight.shape)
                weight.copy_(weight.float() + scale * delta)
        except RuntimeError as error:
            wrong = f"{name} is {tuple(up.shape)} x {tuple(down.shape)}, the model's {tuple(weight.shape)}"
            raise self.error(wrong, self._made_for(layers, title)) from error

    def _made_for(self, layers: Layers, title: str) -> str:
        """What else it was made for, by its names and the width of the text."""
        widths = [
            WIDTHS.get(layer["down"].shape[-1])
            for name, layer in layers.items()
            if re.search(r"attn2.to_[kv]$", name) and "down" in layer and layer["down"].ndim == 2
        ]
        signs = [kind for piece, kind in SIGNS.items() if any(piece in name for name in layers)]
        made = next((kind for kind in (*signs, *widths) if kind), None)
        if made and title.startswith(made):
            made = f"another {made}"
        return f"it was made for {made or 'another model'}, and this model is {title}"

    def _read(self) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        tensors, texts = self.read()
        for pattern, ours in {**ALIASES, **XLABS}.items():
            tensors = {re.sub(pattern, ours, name): tensor for name, tensor in tensors.items()}
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

    def _layers(self, tensors: Mapping[str, Tensor]) -> Layers:
        """The tensors by layer and role."""
        layers: Layers = {}
        if any(name.startswith(PEFT) for name in tensors):
            raise InputError(f"lora '{self.file.name}': {FOREIGN[PEFT]}.")
        for key, tensor in tensors.items():
            ending = next((ending for ending in ENDINGS if key.endswith(ending)), None)
            if kind := next((kind for end, kind in LYCORIS.items() if re.search(end, key)), None):
                raise self.error(f"it is {kind} (it holds {key!r}), and only plain LoRAs are read", OTHERS)
            if ending is None and key.startswith(("model.", "cond_stage_model.", "first_stage_model.")):
                raise self.error("it is a whole checkpoint, not a LoRA", "give it with --model")
            if ending is None and not any("lora" in name for name in tensors):
                what = foreign(tensors)
                if what:
                    raise InputError(f"lora '{self.file.name}': {what}.")
            if key.endswith(("dora_scale", "lora_magnitude_vector")):
                wrong = f"it is a DoRA (it holds {key!r}), whose weights are scaled anew as well"
                raise self.error(wrong, OTHERS)
            if ending is None:
                raise self.error(f"it holds {key!r}, and only plain LoRAs are read", OTHERS)
            layers.setdefault(key.removesuffix(ending), {})[ENDINGS[ending]] = tensor
        if not layers:
            raise self.error("it holds nothing", "download it again")
        return layers


@dataclass(frozen=True)
class Target:
    """The layers of a part that a LoRA's layer belongs to: several where it is fused in the original code.

    `original`: the LoRA calls it as the original code does, whose halves can be the other way round.
    """

    part: str
    names: Originals
    places: Places
    original: bool

    def deal(self, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
        """Each layer with its rows. Raises RuntimeError for another number of rows."""
        return self.names.deal(self.places, rows) if self.original else [(self.places[0], rows)]


def _targets(parts: Mapping[str, Any]) -> dict[tuple[str, str], Target]:
    """Every matrix and kernel by part and canonical name."""
    network = "unet" if "unet" in parts else "transformer"
    targets: dict[tuple[str, str], Target] = {}
    for part, module in parts.items():
        if module is None or (part != network and not part.startswith("text_encoder")):
            continue
        names, short = Originals(module), NETWORK if part == network else part
        own = {
            name: (name,) for name, layer in names.modules.items() if isinstance(layer, nn.Linear | nn.Conv2d)
        }
        fused = {theirs: places for theirs, places in names.places.items() if set(places) <= own.keys()}
        singles = [name for name, places in fused.items() if name.endswith(".linear1") and len(places) > 3]
        fused |= {f"{single.removesuffix('.linear1')}.qkv": fused[single][:3] for single in singles}
        for name, places in {**fused, **own}.items():
            targets[short, _underscored(name)] = Target(part, names, places, name not in own)
        if part == "text_encoder_2" and network == "transformer" and "text_encoder_3" not in parts:
            # kohya numbers encoders by their kind: T5, FLUX.1's second, is the third.
            targets |= {
                ("text_encoder_3", name): target for (of, name), target in targets.items() if of == part
            }
    return targets


def _once(targets: Mapping[str, Target]) -> Iterable[tuple[str, Target]]:
    """Each layer once: some files hold a fused layer beside its own pieces, or one layer under two names."""
    pieces = {(target.part, target.places) for target in targets.values() if len(target.places) == 1}
    done = set[tuple[str, Places]]()
    for name, target in targets.items():
        repeated = len(target.places) > 1 and all((target.part, (each,)) in pieces for each in target.places)
        if not repeated and (target.part, target.places) not in done:
            done.add((target.part, target.places))
            yield name, target


def _canonical(name: str) -> tuple[str, str]:
    """Any way to name a layer -> (part, its name with underscores); names without a part are the network's."""
    part, rest = NETWORK, name
    for candidate, prefixes in PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(prefix):
                return candidate, _underscored(name.removeprefix(prefix))
    return part, _underscored(rest)


def _underscored(name: str) -> str:
    name = name.replace(".processor.", ".").replace(".", "_").removeprefix("text_model_")
    return re.sub("_to_out$", "_to_out_0", name)


# Written -------------------------------------------------------------------------------------------------

TRANSFORMERS = re.compile(r"denoiser\.(single_)?(transformer|joint)_")


def written(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Low-rank changes ("W:up", "W:down" by the names of `Prior.parameters`) as diffusers, ComfyUI and A1111 read them.

    U-Nets and their text encoders get kohya's names, transformers diffusers' own, which ComfyUI reads as well. alpha
    is the rank: the changes are scaled already.
    """
    plain = any(TRANSFORMERS.match(name) for name in values)
    tensors: dict[str, Tensor] = {}
    for key, up in values.items():
        if not key.endswith(":up"):
            continue
        weight = key.removesuffix(":up")
        down = values[f"{weight}:down"]
        part, _, layer = weight.removesuffix(".weight").partition(".")
        if plain:
            name = f"{'transformer' if part == 'denoiser' else part.replace('text', 'text_encoder')}.{layer}"
            tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
            continue
        name = _kohya(part, layer, several=any(each.startswith("text_2.") for each in values))
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(float(down.shape[0]), dtype=torch.float32, device="cpu")
    return tensors


def _kohya(part: str, layer: str, *, several: bool) -> str:
    """A layer's name with underscores; `several`: the model has two text encoders, which are numbered."""
    if part == "denoiser":
        return f"lora_unet_{layer.replace('.', '_')}"
    number = {"text": "1" if several else "", "text_2": "2"}.get(part, part.removeprefix("text_"))
    layer = layer if layer.startswith("text_model.") else f"text_model.{layer}"
    return f"lora_te{number}_{layer.replace('.', '_')}"
