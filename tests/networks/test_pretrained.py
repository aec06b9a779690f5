"""A CLIPModel folder of transformers as an embedder: its own preprocessing, unit vectors, gradients, bad folders."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.judges import Classifier, Embedder
from scumble.core.pixels import to_images
from scumble.core.request import EditRequest
from scumble.editing import given
from scumble.methods.blended_diffusion import BlendedDiffusion
from scumble.methods.sdg import SDG
from scumble.networks import load
from scumble.networks.pretrained import Preprocessing, PretrainedClip
from scumble.priors.exact import GaussianPrior

WORDS = ["a red circle", "a blue star"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIPModel with a 4 x 4 grid of patches, as transformers saves it."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from scumble.train.tokenizer import LENGTH, new_tokenizer

    torch.manual_seed(3)
    tokenizer: Any = new_tokenizer()
    text = {
        "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 6, "num_attention_heads": 2}
    vision = {**small, "image_size": 32, "patch_size": 8}
    path = tmp_path_factory.mktemp("clips") / "tiny-clip"
    CLIPModel(
        CLIPConfig(text_config={**text, **small}, vision_config=vision, projection_dim=12)
    ).save_pretrained(path)
    tokenizer.save_pretrained(path)
    size: Any = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**size).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def clip(folder: Path) -> PretrainedClip:
    made = load("clip", folder)
    assert isinstance(made, PretrainedClip)
    return made


def picture(height: int, width: int) -> Tensor:
    torch.manual_seed(1)
    rough = torch.rand(1, 3, height // 8, width // 8)
    return torch.nn.functional.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1) * 2 - 1


def test_it_is_an_embedder_and_no_classifier(clip: PretrainedClip) -> None:
    assert isinstance(clip, Embedder)
    assert not isinstance(clip, Classifier)
    clip.check(GaussianPrior({"": 0.0}))
    assert (clip.id, clip.space, clip.noisy) == ("tiny-clip", "pixels", False)


def test_it_says_what_transformers_says(clip: PretrainedClip, folder: Path) -> None:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder)
    x = picture(32, 32)
    told = clip.tokenizer(WORDS, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**told, pixel_values=clip.preprocess(x))
        torch.testing.assert_close(clip.embed_image(x), out.image_embeds)
        torch.testing.assert_close(clip.embed_text(WORDS), out.text_embeds)


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (32, 32), (16, 24)])
def test_pictures_are_prepared_as_the_folder_says(folder: Path, size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessorPil

    x = picture(*size)
    pixels = ((x + 1) * 127.5).round().to(torch.uint8)
    theirs = CLIPImageProcessorPil.from_pretrained(folder)(
        Image.fromarray(pixels[0].permute(1, 2, 0).numpy()), return_tensors="pt"
    ).pixel_values
    ours = Preprocessing.read(folder, 32)(to_images(pixels.permute(0, 2, 3, 1).numpy()))
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 0.05  # of 4; PIL rounds to 8 bits and clips the overshoot


def test_vectors_are_unit_vectors_and_gradients_reach_the_picture(clip: PretrainedClip) -> None:
    x = picture(40, 56).requires_grad_()
    vectors, words = clip.embed_image(x), clip.embed_text(WORDS)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(1))
    torch.testing.assert_close(words.norm(dim=-1), torch.ones(2))
    (grad,) = torch.autograd.grad((vectors @ words.mT).sum(), x)
    assert float(grad.abs().max()) > 0
    assert all(p.grad is None for p in clip.network.parameters())


def test_it_shows_five_maps(clip: PretrainedClip) -> None:
    maps = clip.maps(picture(32, 32))
    assert [m.shape for m in maps] == [(1, 16, 4, 4)] * 5
    assert all(not a.equal(b) for a, b in pairwise(maps))


def test_a_prompt_too_long_is_refused(clip: PretrainedClip) -> None:
    with pytest.raises(InputError, match="has more than the 32 tokens that tiny-clip reads"):
        clip.embed_text(["a red circle " * 20])


def test_it_is_given_by_the_name_of_its_folder(folder: Path) -> None:
    name, text = given.check_name(f"clip={folder}")
    assert isinstance(given.read({name: text})["clip"], PretrainedClip)


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config.json there; name the folder of a clip"):
        load("clip", tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        load("clip", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="the folder holds a model of type 'bert', not a clip"):
        load("clip", tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(InputError, match="no .safetensors there"):
        load("clip", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="it cannot be loaded .*; download or save it again"):
        load("clip", tmp_path)


@pytest.mark.parametrize("make", [SDG, BlendedDiffusion])
def test_it_guides_through_the_model(clip: PretrainedClip, make: Callable[..., Any]) -> None:
    """The picture comes nearer to its text than without guidance."""
    prior = GaussianPrior({"": 0.0, "b": 0.3}, 0.5)
    image, mask = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    request = EditRequest(image=image, target="b", mask=mask, given={"clip": clip})
    weight = "text_weight" if make is SDG else "clip_weight"
    near = [
        float(
            (
                clip.embed_image(make(steps=8, **{weight: w})(prior, request).raw) * clip.embed_text(["b"])
            ).sum()
        )
        for w in (1e-9, 300.0)
    ]
    assert near[1] > near[0] + 0.01
