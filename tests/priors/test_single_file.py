"""One .safetensors file with a whole checkpoint in it, as A1111 and ComfyUI keep them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.priors import _convert, _single_file
from scumble.priors._convert import echo
from scumble.priors._single_file import CONFIGS, SingleFile
from scumble.priors._vocabulary import read_tokenizer
from scumble.priors.load import load_prior
from scumble.priors.stable_diffusion import StableDiffusionPrior

from . import ldm

Write = Callable[..., Path]
EditJson = Callable[..., None]
SD1_PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
SD2_PARAMETERS = {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}


@pytest.fixture
def write(
    prior: StableDiffusionPrior, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Write:
    """write(kind, metadata, drop=, more=): the tiny checkpoint as one file, its configs in the packaged ones' place."""
    for kind in ("sd1", "sd2"):
        shutil.copytree(pristine, tmp_path / "configs" / kind, ignore=shutil.ignore_patterns("*.safetensors"))
        config = tmp_path / "configs" / kind / "scheduler/scheduler_config.json"
        config.write_text(
            json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "prediction_type"})
        )
    monkeypatch.setattr(_single_file, "CONFIGS", tmp_path / "configs")
    shutil.copytree(pristine / "tokenizer", tmp_path / "tokenizer")
    parts = (prior._unet, prior._vae, prior._text_encoder)

    def one(
        kind: str = "sd1",
        metadata: dict[str, str] | None = None,
        drop: str | None = None,
        more: dict[str, torch.Tensor] | None = None,
    ) -> Path:
        tensors = ldm.checkpoint(*(dict(part.state_dict()) for part in parts), kind=kind)
        kept = {name: t for name, t in tensors.items() if drop is None or drop not in name}
        save_file({**kept, **(more or {})}, tmp_path / "my model.safetensors", metadata=metadata)
        return tmp_path / "my model.safetensors"

    return one


def refused(file: Path, match: str, error: type[Exception] = InputError) -> None:
    with pytest.raises(error, match=match) as caught:
        load_prior(str(file), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_it_computes_what_the_folder_computes(kind: str, write: Write, prior: StableDiffusionPrior):
    file = write(kind, {"modelspec.prediction_type": "epsilon", "modelspec.license": "openrail"})
    ours = load_prior(str(file), device="cpu")
    image = Noise(0).like(torch.empty(1, 3, 16, 16)).clamp(-1, 1)
    text, same = prior.embed(["a Red, cat"]), ours.embed(["a Red, cat"])
    assert torch.equal(same.tokens, text.tokens)
    z = prior.encode(image)
    assert torch.equal(ours.encode(image), z)
    assert torch.equal(ours.decode(z), prior.decode(z))
    t = torch.tensor([500])
    assert torch.equal(ours.predict(z, t, text).eps, prior.predict(z, t, text).eps)
    assert ours.card.id == "my model"
    assert ours.card.hash == hashlib.sha256(file.read_bytes()).hexdigest()
    assert ours.card.licence == "openrail"
    assert not any(p.requires_grad or p.is_meta for p in ours.parameters().values())


def test_half_precision_is_kept(write: Write):
    prior = load_prior(str(write()), device="cpu", dtype="bfloat16")
    assert {p.dtype for p in prior.parameters().values()} == {torch.bfloat16}


@pytest.mark.parametrize(("kind", "parameters"), [("sd1", SD1_PARAMETERS), ("sd2", SD2_PARAMETERS)])
def test_the_packaged_configs_have_the_published_sizes(kind: str, parameters: dict[str, int]):
    file = SingleFile(CONFIGS / kind, kind, kind, kind=kind)
    with init_empty_weights():
        parts = {
            "unet": UNet2DConditionModel.from_config(dict(file.config("unet"))),
            "vae": AutoencoderKL.from_config(dict(file.config("vae"))),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**file.config("text_encoder"))),
        }
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()} == parameters


@pytest.mark.parametrize(
    ("about", "yaml", "prediction"),
    [
        ({"modelspec.prediction_type": "v"}, None, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, None, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, None, "epsilon"),
        ({}, 'model:\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ({}, "model:\n  params:\n    channels: 4\n", "epsilon"),
    ],
)
def test_what_a_second_stable_diffusion_predicts(
    write: Write, about: dict[str, str], yaml: str | None, prediction: str
):
    file = write("sd2", about)
    if yaml is not None:
        file.with_suffix(".yaml").write_text(yaml)
    read = SingleFile.read(file)
    assert read.prediction == prediction
    assert read.config("scheduler")["prediction_type"] == prediction
    assert (read.config("unet")["sample_size"] == 64) == (prediction == "epsilon")


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_where_nobody_tells_the_network_is_asked_in_float32(
    kind: str, write: Write, monkeypatch: pytest.MonkeyPatch
):
    file = write(kind)
    assert SingleFile.read(file).prediction is None
    asked = list[torch.dtype]()

    def answer(unet: UNet2DConditionModel, agreement: float) -> float:
        asked.append(unet.dtype)
        return agreement

    for agreement, prediction in ((0.99, "eps"), (0.02, "v")):
        monkeypatch.setattr(_convert, "echo", partial(answer, agreement=agreement))
        prior = load_prior(str(file), device="cpu", dtype="float16")
        assert prior.schedule.prediction == prediction
        assert {p.dtype for p in prior.parameters().values()} == {torch.float16}
    assert asked == [torch.float32] * 2


def test_a_tensor_can_say_what_the_network_predicts(write: Write):
    assert SingleFile.read(write(more={"v_pred": torch.zeros(0)})).prediction == "v_prediction"


def test_a_network_that_answers_with_no_numbers(write: Write):
    bias = "model.diffusion_model.out.2.bias"
    refused(
        write(more={bias: torch.full((4,), torch.nan)}), "its network returns values that are not numbers"
    )


def test_a_network_that_predicts_eps_repeats_noise():
    class Network:
        config: ClassVar = {"in_channels": 4, "cross_attention_dim": 16}
        device, dtype = torch.device("cpu"), torch.float32

        def __init__(self, alpha: float, sigma: float):
            self.alpha, self.sigma = alpha, sigma

        def __call__(self, x: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor]:
            smooth = torch.linspace(-2, 2, 32).expand(x.shape)
            return (self.alpha * x - self.sigma * smooth,)

    assert echo(Network(1.0, 0.1)) > 0.9
    assert echo(Network(0.07, 1.0)) < 0.2


def tensors(*names: str, channels: int = 4) -> dict[str, torch.Tensor]:
    named = {name: torch.zeros(1) for name in names}
    first = "model.diffusion_model.input_blocks.0.0.weight"
    return {**named, first: torch.zeros(8, channels, 3, 3)} if first in names else named


FIRST = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("names", "channels", "why"),
    [
        ((FIRST,), 9, r"9 channels \(an inpainting model\)"),
        ((FIRST,), 8, "8 channels"),
        ((FIRST, "control_model.time_embed.0.weight"), 4, "ControlNet"),
        ((FIRST,), 4, "no text encoder.*all three"),
        ((FIRST, "cond_stage_model.transformer.text_model.x"), 4, "no codec"),
        (("lora_unet_down_blocks_0.lora_up.weight",), 4, "it is a LoRA.*--lora"),
        (("unet.down_blocks.0.attn1.to_q.lora.up.weight",), 4, "it is a LoRA.*--lora"),
        (("down_blocks.0.resnets.0.conv1.weight",), 4, "one part of a checkpoint folder"),
        (
            ("controlnet_down_blocks.0.weight", "down_blocks.0.resnets.0.conv1.weight"),
            4,
            "it is a ControlNet",
        ),
        (("base_model.model.down_blocks.0.attn1.to_q.lora_A.weight",), 4, "it is a PEFT adapter"),
        (("encoder.conv_in.weight", "encoder.down_blocks.0.x"), 4, "it is a VAE alone"),
        (("first_stage_model.encoder.conv_in.weight",), 4, "it is a VAE alone"),
        (("text_model.encoder.layers.0.mlp.fc1.weight",), 4, "it is a text encoder alone"),
        (("emb_params",), 4, "it is a textual inversion"),
        (("x",), 4, "no Stable Diffusion network"),
    ],
)
def test_other_files_are_named_by_what_is_in_them(
    tmp_path: Path, names: tuple[str, ...], channels: int, why: str
):
    save_file(tensors(*names, channels=channels), tmp_path / "file.safetensors")
    refused(tmp_path / "file.safetensors", rf"^model '[^']*': (?!its network lacks layers).*{why}")


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x04\0\0\0\0\0\0\0nope"]
)
def test_files_that_are_none(tmp_path: Path, content: bytes):
    (tmp_path / "file.safetensors").write_bytes(content)
    refused(tmp_path / "file.safetensors", "not a readable safetensors file.*download it again")


def test_pickles_are_never_read(tmp_path: Path):
    (tmp_path / "model.ckpt").touch()
    refused(tmp_path / "model.ckpt", "a .ckpt file may be a pickle.*use the .safetensors version")


def test_a_truncated_file(write: Write):
    file = write()
    file.write_bytes(file.read_bytes()[:-1000])
    refused(file, "cannot be read as SD1")


def test_a_missing_weight(write: Write):
    refused(write(drop="encoder.conv_in.bias"), r"its vae lacks 1 of its weights \(encoder.conv_in.bias")


def test_a_weight_of_another_shape(write: Write):
    refused(
        write(more={"first_stage_model.quant_conv.bias": torch.zeros(3)}),
        "its vae cannot be read.*quant_conv.bias",
    )


# The vocabulary


def published(name: str) -> SingleFile:
    """A file of that kind in a folder that does not exist, with the packaged configs."""
    return SingleFile(CONFIGS / name, name, name, kind=name, file=Path("nowhere/model.safetensors"))


@pytest.mark.parametrize(("kind", "pad"), [("sd1", 49407), ("sd2", 0)])
def test_a_lone_file_has_clips_vocabulary(kind: str, pad: int):
    tokenizer = read_tokenizer(published(kind))
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.model_max_length) == (49408, pad, 77)
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    row = tokenizer("A  Café, naïve", padding="max_length")["input_ids"]
    assert row[:8] == [49406, 320, 15304, 267, 1097, 35689, 563, 49407]
    assert row[8:] == [pad] * 69


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_the_kind_of_the_file_decides_the_padding(
    kind: str, write: Write, tmp_path: Path, edit_json: EditJson
):
    """Whatever the tokenizer/ beside it says: it may be that of the other kind."""
    write(kind, {"modelspec.prediction_type": "epsilon"})
    edit_json(tmp_path / "configs" / kind / "tokenizer/tokenizer_config.json", pad_token="!")
    text = load_prior(str(tmp_path / "my model.safetensors"), device="cpu").embed(["a"])
    assert text.ids is not None
    assert text.ids[0, -1].item() == 0


def test_a_tokenizer_of_another_model_beside_the_file(write: Write, tmp_path: Path, edit_json: EditJson):
    """Found before a weight is read: the file ends after its header."""
    file = write()
    edit_json(tmp_path / "configs/sd1/text_encoder/config.json", vocab_size=100)
    file.write_bytes(file.read_bytes()[:-100_000])
    refused(
        file, "tokenizer/ next to it has 190 tokens, and its text encoder knows 100; move that folder away"
    )
