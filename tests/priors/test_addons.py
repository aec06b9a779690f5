"""Another codec, embeddings, fewer text layers: equal to what diffusers does with them. Prompts in foreign syntax."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

import scumble
from scumble.core.errors import InputError
from scumble.editing.passport import check, recipe_of
from scumble.editing.replay import added
from scumble.priors._addons import Addons
from scumble.priors.load import load_prior
from scumble.priors.stable_diffusion import StableDiffusionPrior

from . import ldm
from .families import save, sdxl


@pytest.fixture
def deep(folder: Path) -> Path:
    """The tiny checkpoint with three layers in its text encoder."""
    torch.manual_seed(1)
    config = json.loads((folder / "text_encoder/config.json").read_text())
    CLIPTextModel(CLIPTextConfig(**{**config, "num_hidden_layers": 3})).save_pretrained(
        folder / "text_encoder"
    )
    return folder


def pipeline(folder: Path) -> Any:
    """diffusers' own, with fresh components."""
    prior = load_prior(str(folder), device="cpu")
    assert isinstance(prior, StableDiffusionPrior)
    return StableDiffusionPipeline(
        vae=prior._vae, text_encoder=prior._text_encoder, tokenizer=prior._tokenizer, unet=prior._unet,
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def embedded(pipe: Any, prompt: str, **options: Any) -> Tensor:
    with torch.no_grad():
        return pipe.encode_prompt(prompt, "cpu", 1, False, **options)[0]


# Clip skip


@pytest.mark.slow
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_clip_skip_is_diffusers(deep: Path, skip: int):
    pipe = pipeline(deep)
    object.__setattr__(
        pipe.text_encoder, "text_model", pipe.text_encoder
    )  # where diffusers looks for the norm
    theirs = embedded(pipe, "a cat", clip_skip=skip or None)
    ours = load_prior(str(deep), device="cpu", clip_skip=skip)
    assert torch.equal(ours.embed(["a cat"]).tokens, theirs)
    assert ours.loaded.get("clip_skip", 0) == skip
    assert (ours.card.hash == load_prior(str(deep), device="cpu").card.hash) == (skip == 0)


@pytest.mark.parametrize(("skip", "why"), [(3, "leaves none"), (-1, "give 0")])
def test_layers_that_are_not_there(deep: Path, skip: int, why: str):
    with pytest.raises(InputError, match=why):
        load_prior(str(deep), device="cpu", clip_skip=skip)


# The codec


def other_codec(folder: Path) -> AutoencoderKL:
    torch.manual_seed(7)
    return AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")).eval()


@pytest.mark.parametrize("style", ["diffusers", "folder", "original", "prefixed"])
def test_another_codec(folder: Path, tmp_path: Path, style: str):
    vae = other_codec(folder)
    if style in ("diffusers", "folder"):
        vae.save_pretrained(tmp_path / "codec")
        file = tmp_path / "codec"
        file = file if style == "folder" else file / "diffusion_pytorch_model.safetensors"
    else:
        prefix = "first_stage_model." if style == "prefixed" else ""
        tensors = {f"{prefix}{name}": t.contiguous() for name, t in ldm.codec(dict(vae.state_dict())).items()}
        file = tmp_path / "codec.safetensors"
        save_file(tensors, file)
    prior = load_prior(str(folder), device="cpu", vae=str(file))
    image = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    with torch.no_grad():
        mean = vae.encode(image).latent_dist.mean
        torch.testing.assert_close(prior.encode(image), (mean - 0.1) * 0.2)
        torch.testing.assert_close(prior.decode(prior.encode(image)), vae.decode(mean).sample)
    assert prior.loaded["vae"]["name"].endswith(".safetensors")
    assert prior.card.hash != load_prior(str(folder), device="cpu").card.hash


@pytest.mark.parametrize("convolved", [False, True])
def test_a_codec_with_the_names_of_attention_that_diffusers_once_had(
    folder: Path, tmp_path: Path, convolved: bool
):
    vae = other_codec(folder)
    tensors: dict[str, Tensor] = {}
    for name, weight in vae.state_dict().items():
        for old, new in {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}.items():
            if f".{new}." in name:
                name = name.replace(f".{new}.", f".{old}.")
                weight = weight[..., None, None] if convolved and weight.ndim == 2 else weight
        tensors[name] = weight.contiguous()
    assert any(".attentions.0.proj_attn." in name for name in tensors)
    save_file(tensors, tmp_path / "old.safetensors")
    prior = load_prior(str(folder), device="cpu", vae=str(tmp_path / "old.safetensors"))
    assert isinstance(prior, StableDiffusionPrior)
    read = prior._vae.state_dict()
    assert all(torch.equal(read[name], weight) for name, weight in vae.state_dict().items())


# Embeddings


def test_the_pooled_row_is_that_of_the_end_also_with_an_embedding(tmp_path: Path, edit_json: Any):
    """Published configs name 2 as the end, for which transformers pools at the largest id of a row."""
    folder, file = save(sdxl(), tmp_path / "sdxl"), tmp_path / "zork.safetensors"
    save_file({"clip_l": torch.full((1, 32), 0.02), "clip_g": torch.full((1, 32), 0.01)}, file)
    prompts = ["a zork in snow", "a zork on fire"]
    right = load_prior(str(folder), device="cpu", embedding=[str(file)]).embed(prompts).pooled
    for part in ("text_encoder", "text_encoder_2"):
        edit_json(folder / part / "config.json", eos_token_id=2)
    pooled = load_prior(str(folder), device="cpu", embedding=[str(file)]).embed(prompts).pooled
    assert right is not None
    assert pooled is not None
    assert torch.equal(pooled, right)
    assert not torch.allclose(pooled[0], pooled[1])


def test_an_embedding_is_diffusers(folder: Path, tmp_path: Path):
    vectors = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    named, unnamed = tmp_path / "a.safetensors", tmp_path / "mycat.safetensors"
    save_file({"<toy>": vectors[:1]}, named)
    save_file({"emb_params": vectors}, unnamed)
    pipe = pipeline(folder)
    pipe.load_textual_inversion(str(named))
    pipe.load_textual_inversion({"emb_params": vectors}, token="mycat")
    prior = load_prior(str(folder), device="cpu", embedding=[str(named), str(unnamed)])
    for prompt in ("a <toy> mycat", "mycat, a", "a dog", "mycat mycat mycat mycat mycat mycat"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.testing.assert_close(prior.embed([prompt]).tokens, embedded(pipe, prompt), msg=prompt)
    text = prior.embed(["a <toy> mycat"])
    assert [span for span in text.offsets[0] if span == (8, 13)] == [(8, 13)] * 3
    assert [each["name"] for each in prior.loaded["embedding"]] == ["a.safetensors", "mycat.safetensors"]
    assert prior.card.hash != load_prior(str(folder), device="cpu").card.hash


@pytest.mark.slow
def test_a_codec_as_an_embedding_and_the_other_way_round(folder: Path, tmp_path: Path):
    file = tmp_path / "x.safetensors"
    save_file({"emb_params": torch.zeros(1, 16)}, file)
    refused(folder, "a VAE was expected, but it is a textual inversion", vae=str(file))
    refused(folder, "only .safetensors files are read", vae=str(folder / "vae/config.json"))
    refused(
        folder, "there is no such file; name one .safetensors file with --embedding", embedding=["absent"]
    )
    refused(folder, "a textual inversion was expected, but it is a VAE", embedding=[codec_file(folder)])
    save_file({"emb_params": torch.zeros(1, 24)}, file)
    refused(folder, "its vectors have 24 numbers, and the model's have 16", embedding=[str(file)])
    save_file({"a": torch.zeros(16)}, file)
    refused(folder, "the model knows the word 'a' already", embedding=[str(file)])
    tensors = load_file(codec_file(folder))
    tensors["encoder.conv_in.weight"] = torch.zeros(4, 3, 3, 3)
    save_file(tensors, file)
    refused(folder, "it does not fit the model's codec", vae=str(file))


def codec_file(folder: Path) -> str:
    return str(folder / "vae/diffusion_pytorch_model.safetensors")


def refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_prior(str(folder), device="cpu", **options)
    assert "\n" not in str(caught.value)


def test_nothing_added_changes_nothing():
    assert not Addons()
    assert (Addons().passport, Addons().digests) == ({"lora": []}, [])


# Prompts


@pytest.mark.parametrize(
    ("prompt", "found", "instead"),
    [
        ("a (cat:1.3)", "(cat:1.3)", "reweight"),
        ("a <lora:x:0.8>", "<lora:x:0.8>", "--lora"),
        ("a embedding:y", "embedding:y", "--embedding"),
        ("a BREAK b", "BREAK", "leave it out"),
        ("a ((cat))", "((cat))", "reweight"),
        ("a [[cat]]", "[[cat]]", "reweight"),
        ("a [cat:dog:0.5] b", "[cat:dog:0.5]", "at all steps"),
        ("a [cat|dog] b", "[cat|dog]", "at all steps"),
        ("a {cat|dog} b", "{cat|dog}", "several --target"),
    ],
)
def test_foreign_syntax_is_said_to_be_read_literally(
    prior: StableDiffusionPrior, prompt: str, found: str, instead: str
):
    with pytest.warns(UserWarning, match="is read literally") as seen:
        prior.embed([prompt])
    said = next(str(each.message) for each in seen if "literally" in str(each.message))
    assert repr(found) in said
    assert instead in said


def test_plain_words_draw_no_warning(prior: StableDiffusionPrior, recwarn: pytest.WarningsRecorder):
    prior.embed(["a (cat)", "<x> 1:2", "break", "a [cat]", "{a} b | c", "[a: b]"])
    assert not recwarn.list


@pytest.mark.filterwarnings("ignore:.*cannot reproduce this picture")
def test_they_stand_in_the_passport_and_come_back(folder: Path, tmp_path: Path):
    embedding, vae = tmp_path / "mycat.safetensors", tmp_path / "codec.safetensors"
    save_file({"emb_params": torch.zeros(2, 16)}, embedding)
    save_file(load_file(codec_file(folder)), vae)
    edit = scumble.edit(
        Image.new("RGB", (16, 16), "red"), source="a", target="b", model=str(folder), method="sdedit",
        settings={"steps": 2}, embedding=[str(embedding)], vae=str(vae), device="cpu",
    )  # fmt: skip
    check(edit.provenance, "it")
    again = recipe_of(edit.provenance)
    assert (again.embedding, again.vae, again.clip_skip) == (("mycat.safetensors",), "codec.safetensors", 0)
    found = added(edit.provenance, tmp_path / "out.png", None, ())
    assert found == {"vae": str(vae), "embedding": (str(embedding),)}
    del edit.provenance["model"]["vae"]["name"]
    with pytest.raises(InputError, match="its passport is damaged"):
        check(edit.provenance, "it")
