"""What a single file is, judged by its header: the kind of its network, and the numbers that its shapes tell."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from scumble.priors._conditions import Config, refuse_unet
from scumble.priors._folder import SCOPE
from scumble.priors._foreign import foreign

NETWORK, CODEC = "model.diffusion_model.", "first_stage_model."
Shapes = Mapping[str, tuple[int, ...]]
LONGEST_HEADER = 100_000_000  # bytes: the format's own limit


@dataclass(frozen=True)
class Kind:
    """A kind of file: its family, and how the names of each part's tensors may begin.

    `within`: it holds the network alone, and stands in a folder with all the rest, configs included.
    """

    family: str
    parts: Mapping[str, Sequence[str]]
    within: bool = False


_ORIGINAL = {"unet": [NETWORK], "vae": [CODEC]}
_STREAMS = {"transformer": [NETWORK, ""], "vae": [CODEC, "vae."]}
CLIP_L, CLIP_G, T5XXL = ([f"text_encoders.{name}.transformer."] for name in ("clip_l", "clip_g", "t5xxl"))
KINDS: Mapping[str, Kind] = {
    "sd1": Kind("latent", {**_ORIGINAL, "text_encoder": ["cond_stage_model.transformer."]}),
    "sd2": Kind("latent", {**_ORIGINAL, "text_encoder": ["cond_stage_model.model."]}),
    "sdxl": Kind(
        "sdxl",
        {
            **_ORIGINAL,
            "text_encoder": ["conditioner.embedders.0.transformer."],
            "text_encoder_2": ["conditioner.embedders.1.model."],
        },
    ),
    "sd3": Kind(
        "sd3", {**_STREAMS, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "text_encoder_3": T5XXL}
    ),
    "flux": Kind("flux", {**_STREAMS, "text_encoder": CLIP_L, "text_encoder_2": T5XXL}),
    **{
        name: Kind(name, {"transformer": [NETWORK, ""]}, within=True)
        for name in ("flux2", "klein", "qwen", "zimage", "sana")
    },
}
# The first one decides; FLUX.2 has double blocks as well.
TELLING: Mapping[str, str] = {
    "joint_blocks.": "sd3",
    "single_stream_modulation.lin.": "flux2",
    "double_blocks.": "flux",
    "layers.0.adaLN_modulation.0.": "zimage",
    "transformer_blocks.0.img_mod.": "qwen",
    "blocks.0.mlp.inverted_conv.": "sana",
}
"""How a name in a transformer begins, behind the beginning of the part -> the kind that it tells."""
SIGNS: Mapping[str, Sequence[str]] = {"unet": ("input_blocks.",), "transformer": tuple(TELLING)}
"""A network's tensors begin so behind the beginning of the part."""


def read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Every tensor's shape by name in a .safetensors file, and its metadata. Raises any exception for other files."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > LONGEST_HEADER:
            raise ValueError("its first bytes are no header")
        read: dict[str, Any] = json.loads(stream.read(length))
    about: dict[str, str] = read.pop("__metadata__", None) or {}
    return {name: tuple(entry["shape"]) for name, entry in read.items()}, about


def read_gguf_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Every tensor's shape by name; no metadata. Raises ModuleNotFoundError without the package gguf, and any other
    exception for files that are none.
    """
    from gguf import GGUFReader

    shapes = {
        tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in GGUFReader(path).tensors
    }
    return shapes, {}


def beginning(kind: str, part: str, names: Iterable[str]) -> str | None:
    """How the names of a part's tensors begin; None where the file holds no such part."""
    names, signs = list(names), SIGNS.get(part, ("",))
    return next(
        (
            begin
            for begin in KINDS[kind].parts.get(part, ())
            if any(name.startswith(tuple(begin + sign for sign in signs)) for name in names)
        ),
        None,
    )


def kind_of(shapes: Shapes, error: Any) -> str:
    """A name of KINDS. Raises `error(wrong, remedy)` for a file without a network of ours, or without the parts
    that a file of its kind always has, and InputError for what it is instead.
    """
    kind = _network(shapes)
    if what := foreign(shapes, network=kind is not None):
        raise error(*what.split("; ", 1))
    if kind is None:
        raise error("it holds no Stable Diffusion network", SCOPE)
    if first := shapes.get(f"{NETWORK}input_blocks.0.0.weight"):
        refuse_unet({"in_channels": first[1]}, {}, lambda why: error(why, SCOPE))
    if kind not in ("sd1", "sd2"):
        return kind
    kinds = [kind for kind in ("sd1", "sd2") if beginning(kind, "text_encoder", shapes)]
    parts = {"text encoder": bool(kinds), "codec (VAE)": bool(beginning("sd1", "vae", shapes))}
    for part, there in parts.items():
        if not there:
            raise error(f"it holds a network but no {part}", "use the version of the file with all three")
    return kinds[0]


def _network(shapes: Shapes) -> str | None:
    names = bare(shapes)
    told = next(
        (kind for sign, kind in TELLING.items() if any(name.startswith(sign) for name in names)), None
    )
    if told == "zimage" and any(name.startswith("all_x_embedder.") for name in names):
        return None  # diffusers' names
    if told == "flux2" and "guidance_in.in_layer.weight" not in names:
        return "klein"
    if told:
        return told
    if f"{NETWORK}input_blocks.0.0.weight" not in shapes:
        return None
    return "sdxl" if any(name.startswith(("label_emb.", "conditioner.")) for name in names) else "sd1"


def bare(shapes: Shapes) -> Shapes:
    """The shapes with the network's beginning taken off its names."""
    return {name.removeprefix(NETWORK): shape for name, shape in shapes.items()}


def told(kind: str, part: str, shapes: Shapes) -> Config:
    """What the shapes of a network say of its config."""
    if (kind, part) == ("sdxl", "unet"):
        pooled = shapes.get(f"{NETWORK}label_emb.0.0.weight")
        return {"projection_class_embeddings_input_dim": pooled[1]} if pooled else {}
    if part != "transformer" or KINDS[kind].within:
        return {}
    names = bare(shapes)
    return _sd3(names) if kind == "sd3" else _flux(names)


def _sd3(shapes: Shapes) -> Config:
    width, text = shapes["context_embedder.weight"]
    normed = shapes.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head = normed[0] if normed else 64
    blocks = _count(shapes, "joint_blocks")
    dual = [i for i in range(blocks) if f"joint_blocks.{i}.x_block.attn2.qkv.weight" in shapes]
    return {
        "num_layers": blocks,
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "caption_projection_dim": width,
        "joint_attention_dim": text,
        "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
        "qk_norm": "rms_norm" if normed else None,
        "dual_attention_layers": dual,
        "pos_embed_max_size": isqrt(shapes["pos_embed"][-2]),
    }


def _flux(shapes: Shapes) -> Config:
    (head,) = shapes["double_blocks.0.img_attn.norm.key_norm.scale"]
    width, channels = shapes["img_in.weight"]
    return {
        "in_channels": channels,
        "num_layers": _count(shapes, "double_blocks"),
        "num_single_layers": _count(shapes, "single_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
    }


def _count(shapes: Shapes, blocks: str) -> int:
    found = [re.match(rf"{blocks}\.(\d+)\.", name) for name in shapes]
    return 1 + max((int(each[1]) for each in found if each), default=-1)


def prediction_of(file: Path, about: Mapping[str, str], shapes: Iterable[str]) -> str | None:
    """What the network predicts, by the header (ModelSpec), an empty tensor "v_pred" (a habit of ComfyUI) or the
    .yaml beside the file; None: nobody says.
    """
    if "v_pred" in shapes:
        return "v_prediction"
    words = f"{about.get('modelspec.prediction_type', '')} {about.get('modelspec.architecture', '')}"
    yaml = file.with_suffix(".yaml")
    if yaml.is_file():
        found = re.search(r"parameterization\W+(\w+)", yaml.read_text(encoding="utf-8", errors="replace"))
        words += f" {found[1] if found else 'epsilon'}"
    if re.search(r"\bv(_prediction)?\b", words.replace("-", " ")):
        return "v_prediction"
    return "epsilon" if re.search(r"\beps|\b512\b", words) else None
