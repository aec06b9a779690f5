"""LoRAs of all families, by the names that trainers give: every layer ends where diffusers puts it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_pipeline import StableDiffusionXLLoraLoaderMixin
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble.core.errors import InputError
from scumble.priors.load import load_prior

from .families import MAKERS, save

RANK, ALPHA = 2, 1.0
DOUBLE, SINGLE, JOINT = "transformer_blocks.0", "single_transformer_blocks.1", "transformer_blocks.1"
QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
FUSED: Mapping[
    str, Mapping[str, tuple[str, ...]]
] = {  # a layer of the original code -> layers here, in order
    "flux": {
        "double_blocks.0.img_attn.qkv": tuple(f"{DOUBLE}.{name}" for name in QKV),
        "double_blocks.0.txt_attn.qkv": tuple(f"{DOUBLE}.{name}" for name in ADDED),
        "double_blocks.0.txt_mlp.2": (f"{DOUBLE}.ff_context.net.2",),
        "single_blocks.1.linear1": (*(f"{SINGLE}.{name}" for name in QKV), f"{SINGLE}.proj_mlp"),
        "single_blocks.1.linear2": (f"{SINGLE}.proj_out",),
        "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    },
    "sd3": {
        "joint_blocks.1.x_block.attn.qkv": tuple(f"{JOINT}.{name}" for name in QKV),
        "joint_blocks.1.context_block.attn.qkv": tuple(f"{JOINT}.{name}" for name in ADDED),
        "joint_blocks.0.x_block.attn2.proj": ("transformer_blocks.0.attn2.to_out.0",),
        "joint_blocks.1.context_block.adaLN_modulation.1": (f"{JOINT}.norm1_context.linear",),
        "x_embedder.proj": ("pos_embed.proj",),
    },
    "flux2": {
        "double_blocks.0.img_attn.qkv": tuple(f"{DOUBLE}.{name}" for name in QKV),
        "double_blocks.0.txt_attn.qkv": tuple(f"{DOUBLE}.{name}" for name in ADDED),
        "double_blocks.0.txt_mlp.2": (f"{DOUBLE}.ff_context.linear_out",),
        "single_blocks.1.linear1": (f"{SINGLE}.attn.to_qkv_mlp_proj",),
        "single_blocks.1.linear2": (f"{SINGLE}.attn.to_out",),
        "final_layer.adaLN_modulation.1": ("norm_out.linear",),
        "single_stream_modulation.lin": ("single_stream_modulation.linear",),
        "time_in.in_layer": ("time_guidance_embed.timestep_embedder.linear_1",),
    },
    "zimage": {
        "layers.1.attention.qkv": tuple(f"layers.1.attention.{name}" for name in ("to_q", "to_k", "to_v")),
        "layers.1.attention.out": ("layers.1.attention.to_out.0",),
        "noise_refiner.0.feed_forward.w2": ("noise_refiner.0.feed_forward.w2",),
        "layers.0.adaLN_modulation.0": ("layers.0.adaLN_modulation.0",),
        "x_embedder": ("all_x_embedder.2-1",),
    },
    "qwen": {
        "transformer_blocks.1.attn.add_q_proj": (f"{JOINT}.attn.add_q_proj",),
        "transformer_blocks.1.img_mlp.net.0.proj": (f"{JOINT}.img_mlp.net.0.proj",),
        "transformer_blocks.0.txt_mod.1": ("transformer_blocks.0.txt_mod.1",),
    },
    "sana": {
        "blocks.1.attn.qkv": tuple(f"{JOINT}.attn1.{name}" for name in ("to_q", "to_k", "to_v")),
        "blocks.1.cross_attn.kv_linear": (f"{JOINT}.attn2.to_k", f"{JOINT}.attn2.to_v"),
        "blocks.0.mlp.point_conv.conv": ("transformer_blocks.0.ff.conv_point",),
    },
    "pixart": {  # diffusers' own names, as its trainers write them
        f"{JOINT}.attn2.to_k": (f"{JOINT}.attn2.to_k",),
        "adaln_single.linear": ("adaln_single.linear",),
        "pos_embed.proj": ("pos_embed.proj",),
    },
}
TEXTS = {"flux": "text_encoder_2", "sd3": "text_encoder_3"}  # T5, the third by kohya's count
SWAPPED = ("norm_out.linear", f"{JOINT}.norm1_context.linear")  # shift and scale
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0"
ORIGINAL = {  # kohya's names of an SDXL network here
    "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k": f"{ATTENTION}.attn2.to_k",
    "lora_unet_input_blocks_3_1_proj_in": "down_blocks.1.attentions.0.proj_in",
    "lora_unet_middle_block_1_transformer_blocks_1_ff_net_0_proj": (
        "mid_block.attentions.0.transformer_blocks.1.ff.net.0.proj"
    ),
    "lora_unet_output_blocks_2_1_transformer_blocks_0_attn1_to_out_0": (
        "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
    ),
}
CONVOLUTIONS = {  # LoCon's, which diffusers does not read by these names
    "lora_unet_input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
    "lora_unet_input_blocks_2_0_op": "down_blocks.0.downsamplers.0.conv",
    "lora_unet_middle_block_2_emb_layers_1": "mid_block.resnets.1.time_emb_proj",
    "lora_unet_output_blocks_1_0_skip_connection": "up_blocks.0.resnets.1.conv_shortcut",
    "lora_unet_output_blocks_1_2_conv": "up_blocks.0.upsamplers.0.conv",
    "lora_unet_time_embed_2": "time_embedding.linear_2",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("lora")
    return {name: save(MAKERS[name](), root / name) for name in ("sdxl", "klein", *FUSED)}


def load(folder: Path, **options: Any) -> Any:
    return load_prior(str(folder), device="cpu", **options)


def weights(prior: Any) -> dict[str, Tensor]:
    """By diffusers' names: the network's bare, a text encoder's after its part."""
    return {
        name.removeprefix("denoiser.").replace("text", "text_encoder", name.startswith("text"))
        .replace("text_model.", ""): weight
        for name, weight in prior.parameters().items()
    }  # fmt: skip


def drawn(rows: int, columns: Any) -> tuple[Tensor, Tensor]:
    """(down, up)."""
    g = torch.Generator().manual_seed(rows)
    columns = columns if isinstance(columns, tuple) else (columns,)
    ones = (1,) * (len(columns) - 1)
    return torch.randn(RANK, *columns, generator=g), torch.randn(rows, RANK, *ones, generator=g)


def merged(
    folder: Path,
    named: Mapping[str, tuple[str, ...]],
    tmp_path: Path,
    ends: tuple[str, str],
    alpha: bool = False,
    swapped: bool = True,
) -> None:
    """Every weight is what the formula says. `named`: a file's name for a layer -> the layers that share its rows;
    `swapped`: it is the original code's.
    """
    before, tensors, expected = weights(load(folder)), dict[str, Tensor](), dict[str, Tensor]()
    for name, places in named.items():
        there = [before[f"{place}.weight"] for place in places]
        down, up = drawn(sum(len(weight) for weight in there), tuple(there[0].shape[1:]))
        tensors |= {name + ends[0]: down, name + ends[1]: up}
        if alpha:
            tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
        delta = up.flatten(1) @ down.flatten(1) * (ALPHA / RANK if alpha else 1.0)
        parts = delta.split([len(weight) for weight in there])
        for place, weight, part in zip(places, there, parts, strict=True):
            rows = torch.cat(part.chunk(2)[::-1]) if place in SWAPPED and swapped else part
            expected[f"{place}.weight"] = weight + rows.reshape(weight.shape)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    after = weights(load(folder, lora=[str(tmp_path / "a.safetensors")]))
    for name, weight in after.items():
        torch.testing.assert_close(weight, expected.get(name, before[name]), rtol=1e-5, atol=1e-5, msg=name)


KOHYA, PEFT, OLDER = (
    (".lora_down.weight", ".lora_up.weight"),
    (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"),
)


@pytest.mark.parametrize("name", FUSED)
def test_kohyas_names_of_transformers(name: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    named = {"lora_unet_" + theirs.replace(".", "_"): places for theirs, places in FUSED[name].items()}
    if name in TEXTS:
        named["lora_te1_text_model_encoder_layers_0_mlp_fc1"] = ("text_encoder.encoder.layers.0.mlp.fc1",)
        attention = "encoder.block.0.layer.0.SelfAttention.k"
        named["lora_te3_" + attention.replace(".", "_")] = (f"{TEXTS[name]}.{attention}",)
    merged(folders[name], named, tmp_path, KOHYA, alpha=True)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("prefix", ["diffusion_model.", "", "model.diffusion_model."])
def test_comfyuis_names_of_transformers(
    name: str, prefix: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    named = {prefix + theirs: places for theirs, places in FUSED[name].items()}
    merged(folders[name], named, tmp_path, PEFT if prefix else KOHYA, alpha=bool(prefix))


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("prefix", ["transformer.", "lora_transformer_"])
def test_diffusers_names_of_transformers(
    name: str, prefix: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    places = [place for each in FUSED[name].values() for place in each]
    dotted = prefix.endswith(".")
    named = {prefix + (place if dotted else place.replace(".", "_")): (place,) for place in places}
    if name in TEXTS:
        named["text_encoder.text_model.encoder.layers.0.self_attn.q_proj"] = (
            "text_encoder.encoder.layers.0.self_attn.q_proj",
        )
    merged(folders[name], named, tmp_path, PEFT if dotted else KOHYA, swapped=False)


def test_exports_with_other_names(folders: Mapping[str, Path], tmp_path: Path) -> None:
    default = (".lora_A.default.weight", ".lora_B.default.weight")
    merged(folders["qwen"], {f"{JOINT}.attn.to_q": (f"{JOINT}.attn.to_q",)}, tmp_path, default)
    alias = "diffusion_model.sformer_blocks.0.attn.to_q"
    merged(folders["flux2"], {alias: (f"{DOUBLE}.attn.to_q",)}, tmp_path, PEFT)


def test_layers_that_a_file_holds_twice_count_once(folders: Mapping[str, Path], tmp_path: Path) -> None:
    attention = "layers.1.attention"
    named = {f"lora_unet_{attention}.to.{x}": (f"{attention}.to_{x}",) for x in "qkv"}
    named |= {f"lora_unet_{attention}.to_out.0": (f"{attention}.to_out.0",)}
    merged(folders["zimage"], named, tmp_path, OLDER)
    file = tmp_path / "a.safetensors"
    once = weights(load(folders["zimage"], lora=[str(file)]))
    tensors = load_file(file)
    up = torch.cat([tensors[f"lora_unet_{attention}.to.{x}{OLDER[1]}"] for x in "qkv"])
    tensors |= {
        f"lora_unet_{attention}.qkv{OLDER[0]}": torch.ones(RANK, 32),
        f"lora_unet_{attention}.qkv{OLDER[1]}": up,
    }
    for end in OLDER:
        tensors[f"lora_unet_{attention}.out{end}"] = tensors[f"lora_unet_{attention}.to_out.0{end}"].clone()
    save_file(tensors, file)
    twice = weights(load(folders["zimage"], lora=[str(file)]))
    assert all(torch.equal(weight, once[name]) for name, weight in twice.items())


def test_xlabs_names_of_flux(folders: Mapping[str, Path], tmp_path: Path) -> None:
    named = {
        "double_blocks.0.processor.qkv_lora1": FUSED["flux"]["double_blocks.0.img_attn.qkv"],
        "double_blocks.0.processor.qkv_lora2": FUSED["flux"]["double_blocks.0.txt_attn.qkv"],
        "double_blocks.0.processor.proj_lora1": (f"{DOUBLE}.attn.to_out.0",),
        "double_blocks.0.processor.proj_lora2": (f"{DOUBLE}.attn.to_add_out",),
        "single_blocks.1.processor.qkv_lora": tuple(f"{SINGLE}.{name}" for name in QKV),
        "single_blocks.1.processor.proj_lora": (f"{SINGLE}.proj_out",),
    }
    merged(folders["flux"], named, tmp_path, (".down.weight", ".up.weight"))


def test_kohyas_names_of_sdxl(folders: Mapping[str, Path], tmp_path: Path) -> None:
    named = {theirs: (ours,) for theirs, ours in {**ORIGINAL, **CONVOLUTIONS}.items()}
    for number, part in ((1, "text_encoder"), (2, "text_encoder_2")):
        named[f"lora_te{number}_text_model_encoder_layers_1_self_attn_out_proj"] = (
            f"{part}.encoder.layers.1.self_attn.out_proj",
        )
    merged(folders["sdxl"], named, tmp_path, KOHYA, alpha=True)


def test_diffusers_names_of_sdxl(folders: Mapping[str, Path], tmp_path: Path) -> None:
    named = {f"unet.{ours}": (ours,) for ours in ORIGINAL.values()}
    named["text_encoder_2.text_model.encoder.layers.1.mlp.fc2"] = ("text_encoder_2.encoder.layers.1.mlp.fc2",)
    merged(folders["sdxl"], named, tmp_path, PEFT)
    merged(
        folders["sdxl"],
        {"lora_unet_" + o.replace(".", "_"): (o,) for o in ORIGINAL.values()},
        tmp_path,
        KOHYA,
    )


def test_original_blocks_are_those_that_diffusers_takes_them_for() -> None:
    unet = MAKERS["sdxl"]().unet
    tensors = {name + end: torch.zeros(2, 2) for name in ORIGINAL for end in KOHYA}
    tensors |= {f"{name}.alpha": torch.tensor(1.0) for name in ORIGINAL}
    theirs = StableDiffusionXLLoraLoaderMixin.lora_state_dict(tensors, unet_config=unet.config)[0]
    endings = r"(_lora|\.lora)(_linear_layer)?\.(down|up)\.weight$"
    places = {re.sub(endings, "", name.removeprefix("unet.").replace(".processor.", ".")) for name in theirs}
    assert {name.removesuffix(".0") for name in places} == {o.removesuffix(".0") for o in ORIGINAL.values()}


@pytest.mark.parametrize(
    ("name", "layer", "down", "made"),
    [
        ("sdxl", f"lora_unet_{ATTENTION.replace('.', '_')}_attn2_to_k", 768, "Stable Diffusion 1.x"),
        (
            "sdxl",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
            768,
            "Stable Diffusion 1.x",
        ),
        ("sd3", f"unet.{ATTENTION}.attn2.to_v", 2048, "SDXL"),
        ("sd3", "transformer.single_transformer_blocks.0.attn.to_q", 32, "FLUX.1"),
        ("flux", "lora_unet_joint_blocks_0_x_block_attn_qkv", 32, "Stable Diffusion 3"),
        ("flux", "unet.somewhere", 32, "another model"),
        ("flux", "lora_unet_single_stream_modulation_lin", 32, "FLUX.2"),
        ("flux2", "lora_unet_single_blocks_7_linear1", 32, "FLUX.1"),
        ("flux2", "lora_unet_single_stream_modulation_lin", 48, "another FLUX.2"),
        ("klein", "transformer.layers.0.feed_forward.w1", 32, "Z-Image"),
        ("zimage", "transformer.transformer_blocks.0.img_mod.1", 32, "Qwen-Image"),
    ],
)
def test_loras_of_other_families_are_named(
    name: str, layer: str, down: int, made: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    ends = KOHYA if layer.startswith("lora_") else PEFT
    tensors = {layer + ends[0]: torch.ones(2, down), layer + ends[1]: torch.ones(32, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(
        InputError, match=f"lora 'a.safetensors': .*it was made for {made}, and this model is"
    ):
        load(folders[name], lora=[str(tmp_path / "a.safetensors")])


@pytest.mark.parametrize(("end", "kind"), [("hada_w1_a", "LoHa"), ("lokr_w1", "LoKr"), ("lokr_w2_a", "LoKr")])
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("sdxl", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"),
        ("flux", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("flux", "diffusion_model.double_blocks.0.img_attn.qkv"),
        ("sd3", "transformer.transformer_blocks.0.attn.to_q"),
        ("klein", "diffusion_model.double_blocks.0.img_attn.qkv"),
        ("zimage", "diffusion_model.layers.0.attention.to_q"),
    ],
)
def test_other_kinds_of_lycoris_are_refused(
    name: str, layer: str, end: str, kind: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    tensors = {f"{layer}.alpha": torch.tensor(1.0), f"{layer}.{end}": torch.ones(4, 4)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(
        InputError, match=f"lora 'a.safetensors': it is a {kind} .*take a plain LoRA, or merge it"
    ):
        load(folders[name], lora=[str(tmp_path / "a.safetensors")])


@pytest.mark.parametrize("end", [".dora_scale", ".lora_magnitude_vector"])
def test_dora_is_refused(end: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    layer = f"transformer.{DOUBLE}.attn.to_q"
    tensors = {
        layer + PEFT[0]: torch.ones(2, 32),
        layer + PEFT[1]: torch.ones(32, 2),
        layer + end: torch.ones(32),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="it is a DoRA"):
        load(folders["flux"], lora=[str(tmp_path / "a.safetensors")])
