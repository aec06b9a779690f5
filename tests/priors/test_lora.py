"""LoRA files merged into the weights: W + weight * alpha / r * up @ down, by whatever names they go."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scumble.core.errors import InputError
from scumble.priors._lora import LoRA
from scumble.priors.load import load_prior
from scumble.priors.stable_diffusion import StableDiffusionPrior

RANK = 2
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
LAYERS = {  # module -> (out, in) or (out, in, k, k), in the tiny model
    f"unet.{ATTENTION}.to_q": (16, 16),
    f"unet.{ATTENTION}.to_out.0": (16, 16),
    "unet.down_blocks.0.attentions.0.proj_in": (16, 16, 1, 1),
    "unet.mid_block.resnets.0.conv1": (32, 32, 3, 3),
    "text_encoder.encoder.layers.0.self_attn.q_proj": (16, 16),
    "text_encoder.encoder.layers.0.mlp.fc1": (32, 16),
}

Matrices = dict[str, tuple[Tensor, Tensor]]


@pytest.fixture
def matrices() -> Matrices:
    """(down, up) by module."""
    g = torch.Generator().manual_seed(3)

    def draw(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        out, rest = shape[0], shape[1:]
        ones = (1,) * len(shape[2:])
        return torch.randn((RANK, *rest), generator=g), torch.randn((out, RANK, *ones), generator=g)

    return {name: draw(shape) for name, shape in LAYERS.items()}


def kohya(matrices: Matrices, alpha: float | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {}
    for name, (down, up) in matrices.items():
        part, module = name.split(".", 1)
        where = "lora_unet_" if part == "unet" else "lora_te_text_model_"
        key = where + module.replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
    return tensors, {"ss_network_dim": str(RANK)}


def diffusers(matrices: Matrices, alpha: float | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {}
    for name, (down, up) in matrices.items():
        key = name.replace("text_encoder.", "text_encoder.text_model.")
        tensors |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    if alpha is None:
        return tensors, {}
    about = {f"{part}.lora_alpha": alpha for part in ("unet", "text_encoder")}
    return tensors, {"lora_adapter_metadata": json.dumps({**about, "unet.rank_pattern": {"x": 3}})}


def older(matrices: Matrices, alpha: float | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """diffusers before peft: dotted, and attention's own places."""
    tensors = {}
    for name, (down, up) in matrices.items():
        if name.startswith("text"):
            key = name.replace("text_encoder.", "text_encoder.text_model.") + ".lora_linear_layer."
        elif ".attn1." in name:
            block, _, matrix = name.removesuffix(".0").rpartition(".")
            key = f"{block}.processor.{matrix}_lora."
        else:
            key = f"{name}.lora."
        tensors |= {f"{key}down.weight": down, f"{key}up.weight": up}
    return tensors, {}


@pytest.mark.parametrize(
    ("style", "alpha", "weight"),
    [
        (kohya, None, 1.0),
        (kohya, 1.0, 0.75),
        (diffusers, None, -0.5),
        (diffusers, 8.0, 0.75),
        (older, None, 1.0),
    ],
)
def test_the_weights_are_what_the_formula_says(
    prior: StableDiffusionPrior,
    pristine: Path,
    tmp_path: Path,
    matrices: Matrices,
    style: Callable[..., tuple],
    alpha: float | None,
    weight: float,
):
    tensors, metadata = style(matrices, alpha)
    file = tmp_path / "style: a.safetensors"
    save_file(tensors, file, metadata=metadata)
    spec = str(file) if weight == 1 else f"{file}:{weight}"
    merged = load_prior(str(pristine), device="cpu", lora=[spec])
    before, after = prior.parameters(), merged.parameters()
    names = {"unet": "denoiser", "text_encoder": "text"}
    changed = set()
    for name, (down, up) in matrices.items():
        part, module = name.split(".", 1)
        key = f"{names[part]}.{module}.weight"
        changed.add(key)
        W = before[key].double()
        B, A = up.double().flatten(1), down.double().flatten(1)
        expected = W + weight * ((alpha or RANK) / RANK) * (B @ A).reshape(W.shape)
        assert torch.allclose(after[key].double(), expected, rtol=1e-5, atol=1e-6), name
    assert all(torch.equal(before[key], after[key]) for key in before if key not in changed)


def test_it_stands_in_the_passport_and_in_the_hash(
    prior: StableDiffusionPrior, pristine: Path, tmp_path: Path, matrices: Matrices
):
    file = tmp_path / "a.safetensors"
    save_file(kohya(matrices, None)[0], file)
    half, whole = (load_prior(str(pristine), device="cpu", lora=lora) for lora in (f"{file}:.5", [str(file)]))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert half.loaded["lora"] == [{"name": "a.safetensors", "sha256": sha256, "weight": 0.5}]
    assert len({prior.card.hash, half.card.hash, whole.card.hash}) == 3
    assert len(half.card.hash) == 64


@pytest.mark.parametrize("weight", [5e-05, -1e-7, 2.5])
def test_a_weight_is_read_as_a_passport_says_it(tmp_path: Path, matrices: Matrices, weight: float):
    file = tmp_path / "a.safetensors"
    save_file(kohya(matrices, None)[0], file)
    assert LoRA.parse(f"{file}:{weight}").weight == weight


def test_two_add_up(pristine: Path, tmp_path: Path, matrices: Matrices):
    file = tmp_path / "a.safetensors"
    save_file(kohya(matrices, None)[0], file)
    both = load_prior(str(pristine), device="cpu", lora=[f"{file}:0.25", f"{file}:0.5"]).parameters()
    once = load_prior(str(pristine), device="cpu", lora=[f"{file}:0.75"]).parameters()
    assert all(torch.allclose(both[key], once[key], atol=1e-5) for key in once)


def refused(folder: Path, lora: Path | str, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_prior(str(folder), device="cpu", lora=[str(lora)])
    assert "\n" not in str(caught.value)


Q = f"unet.{ATTENTION}.to_q"


@pytest.mark.parametrize(
    ("tensors", "metadata", "match"),
    [
        (
            {"lora_unet_input_blocks_4_1.lora_down.weight": (2, 16)},
            {},
            "1 of its 1 layers are not in this model",
        ),
        ({f"{Q}.lora_A.weight": (2, 16)}, {}, "only one of its two matrices"),
        ({f"{Q}.lora_A.weight": (2, 24), f"{Q}.lora_B.weight": (16, 2)}, {}, "made for another model"),
        (
            {"model.diffusion_model.out.0.bias": (2,)},
            {},
            "a whole checkpoint, not a LoRA; give it with --model",
        ),
        (
            {f"{Q}.hada_w1_a": (2, 16)},
            {},
            "it is a LoHa .*hada_w1_a.*, and only plain LoRAs are read; take a plain",
        ),
        ({f"{Q}.lokr_w1": (2, 2), f"{Q}.lokr_w2": (8, 8)}, {}, "it is a LoKr .*merge it elsewhere and name"),
        (
            {
                f"{Q}.lora_down.weight": (2, 16),
                f"{Q}.lora_mid.weight": (2, 2),
                f"{Q}.lora_up.weight": (16, 2),
            },
            {},
            "it is a LoCon in Tucker's form",
        ),
        ({f"{Q}.oft_blocks": (2, 8, 8)}, {}, "it is an OFT"),
        ({f"{Q}.a1.weight": (2, 16), f"{Q}.b1.weight": (2, 16)}, {}, "it is a GLoRA"),
        ({f"{Q}.diff": (16, 16)}, {}, "it is a full change of weights"),
        (
            {f"{Q}.lora_A.weight": (2, 16), f"{Q}.strange": (1,)},
            {},
            "it holds .*strange.*only plain LoRAs are read",
        ),
        ({f"{Q}.lora_A.weight": (2, 16), f"{Q}.dora_scale": (16, 1)}, {}, "it is a DoRA .*dora_scale"),
        (
            {f"{Q}.lora_A.weight": (2, 16), f"{Q}.lora_B.weight": (16, 2)},
            {"lora_adapter_metadata": '{"unet.use_rslora": true}'},
            "its header asks for unet.use_rslora",
        ),
        ({f"base_model.model.{Q}.lora_A.weight": (2, 16)}, {}, "it is a PEFT adapter.*save_lora_weights"),
        ({"encoder.conv_in.weight": (8, 3, 3, 3)}, {}, "it is a VAE alone"),
        ({"controlnet_cond_embedding.conv_in.weight": (8, 3, 3, 3)}, {}, "it is a ControlNet"),
        ({"emb_params": (4, 16)}, {}, "it is a textual inversion"),
        ({}, {}, "it holds nothing"),
    ],
)
def test_other_files_are_refused(
    pristine: Path, tmp_path: Path, tensors: dict[str, tuple[int, ...]], metadata: dict[str, str], match: str
):
    file = tmp_path / "a.safetensors"
    save_file({name: torch.ones(shape) for name, shape in tensors.items()}, file, metadata=metadata or None)
    refused(pristine, file, f"lora 'a.safetensors': .*{match}")


def test_files_that_are_none(pristine: Path, tmp_path: Path):
    refused(pristine, tmp_path / "absent.safetensors:0.5", r"absent.safetensors': there is no such file")
    (tmp_path / "a.pt").touch()
    refused(pristine, tmp_path / "a.pt", "only .safetensors files are read")
    (tmp_path / "b.safetensors").write_bytes(b"none")
    refused(pristine, tmp_path / "b.safetensors", "cannot be read")
