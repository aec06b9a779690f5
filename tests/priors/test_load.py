"""From a model's name to a prior; each way to fail is one clear sentence."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors.torch import load_file, save_file

from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.priors import _find
from scumble.priors import load as load_module
from scumble.priors._advice import advise
from scumble.priors._card import latent_card
from scumble.priors._folder import Folder
from scumble.priors._parts import resolve_device
from scumble.priors._single_file import CONFIGS
from scumble.priors.load import load_prior, models
from scumble.priors.pixel import PixelPrior
from scumble.priors.stable_diffusion import StableDiffusionPrior

from .conftest import write_scheduler

EditJson = Callable[..., None]


def refused(model: str | Path, match: str, **options: object) -> None:
    """load_prior refuses in one line that names the model."""
    with pytest.raises(InputError, match=match) as caught:
        load_prior(str(model), device="cpu", **options)
    assert "\n" not in str(caught.value)
    assert str(model) in str(caught.value)


# Names


def test_a_folder(folder: Path):
    prior = load_prior(str(folder), device="cpu")
    assert isinstance(prior, StableDiffusionPrior)
    assert prior.card.id == "tiny"


def test_a_folder_without_a_separator_in_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    assert load_prior("tiny", device="cpu").card.id == "tiny"


def test_a_loading_as_one_value(folder: Path):
    listed = load_prior(str(folder), device="cpu", dtype="bfloat16", memory=["slicing"]).loaded
    asked = Loading(str(folder), device="cpu", memory=["slicing"])
    assert load_prior(asked, dtype="bfloat16").loaded == listed
    with pytest.raises(TypeError, match="precision"):
        load_prior(str(folder), precision="bfloat16")


def test_what_was_loaded(folder: Path):
    prior = load_prior(str(folder), device="cpu", dtype="bfloat16", memory=["slicing", "tiling"])
    assert prior.loaded == {
        "name": str(folder),
        "dtype": "bfloat16",
        "device": "cpu",
        "revision": None,
        "lora": [],
        "memory": ["slicing", "tiling"],
    }


def test_the_licence_stands_in_the_readme(folder: Path):
    assert load_prior(str(folder), device="cpu").card.licence == "see the checkpoint"
    (folder / "README.md").write_text(
        "---\nlicense: creativeml-openrail-m\ntags:\n- x\n---\n\nlicense: none\n"
    )
    assert load_prior(str(folder), device="cpu").card.licence == "creativeml-openrail-m"


def test_only_the_hub_has_revisions(folder: Path):
    refused(folder, "only a model of the hub has revisions", revision="v2")


def test_a_pixel_model(tmp_path: Path):
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    UNet2DModel(sample_size=8, block_out_channels=(8,), norm_num_groups=4, **blocks).save_pretrained(
        tmp_path / "unet"
    )
    write_scheduler(tmp_path)
    prior = load_prior(str(tmp_path), device="cpu")
    assert isinstance(prior, PixelPrior)
    assert (prior.card.size, prior.card.multiple, len(prior.card.hash)) == (8, 1, 64)
    assert prior.loaded["dtype"] == "float32"
    refused(tmp_path, "it runs in float32", dtype="float16")
    refused(tmp_path, "takes neither LoRAs nor memory settings", memory=["slicing"])
    (tmp_path / "card.json").write_text(json.dumps({"domain": "Letters.", "licence": "mine"}))
    card = load_prior(str(tmp_path), device="cpu").card
    assert (card.domain, card.licence) == ("Letters.", "mine")


def test_built_in_models_are_found_in_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch):
    card = {"domain": "Letters.", "size": 16, "multiple": 16, "words": ["a"]}
    (folder / "card.json").write_text(json.dumps(card))
    for module in (_find, load_module):
        monkeypatch.setattr(module, "builtin", lambda name: folder)
    assert load_prior("scenes", device="cpu").card == models()["scenes"]
    assert models()["scenes"].id == "scenes"


def test_an_absent_built_in_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (_find, load_module):
        monkeypatch.setattr(module, "builtin", lambda name: tmp_path / name)
    assert models() == {}
    refused("scenes", "not in this installation; make them with `scumble train prior scenes`")


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ("scene", "did you mean 'scenes'"),
        ("quixotic", "known: scenes, a folder, or a hub id"),
        ("a/b/c", "no such built-in model, folder or hub id"),
        ("", "no such built-in model"),
        ("./absent", "there is no such folder"),
        ("~/absent/folder", "there is no such folder"),
    ],
)
def test_names_that_mean_nothing(model: str, match: str):
    refused(model, match)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dtype": "float8"}, "dtype: 'float8'; known are auto, float32"),
        ({"device": "tpu9"}, "device: 'tpu9'"),
    ],
)
def test_bad_places_and_precisions(pristine: Path, options: dict[str, str], match: str):
    with pytest.raises(InputError, match=match):
        load_prior(str(pristine), **options)


# Folders


def test_an_empty_folder(tmp_path: Path):
    refused(tmp_path, "unet/config.json is missing")


@pytest.mark.parametrize(
    ("part", "missing"),
    [
        ("unet", "unet/config.json"),
        ("vae", "vae/config.json"),
        ("text_encoder", "text_encoder/config.json"),
        ("tokenizer", "tokenizer/ is missing"),
        ("scheduler", "scheduler/scheduler_config.json"),
    ],
)
def test_a_missing_part(folder: Path, part: str, missing: str):
    shutil.rmtree(folder / part)
    refused(folder, missing)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_missing_weights(folder: Path, part: str):
    next((folder / part).glob("*.safetensors")).unlink()
    refused(folder, rf"{part}/\w+.safetensors is missing")


@pytest.mark.parametrize("suffix", [".bin", ".ckpt"])
def test_pickled_weights_are_never_read(folder: Path, suffix: str):
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(suffix))
    refused(
        folder, rf"pickled weights only \(diffusion_pytorch_model{suffix}\).*save it again with safetensors"
    )


def test_half_precision_weights_serve_where_there_are_no_others(folder: Path):
    for file in [*folder.glob("*/*.safetensors")]:
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert load_prior(str(folder), device="cpu").parameters()


def test_a_tokenizer_of_the_older_layout(pristine: Path, folder: Path):
    written = json.loads((folder / "tokenizer/tokenizer.json").read_text())
    (folder / "tokenizer/tokenizer.json").unlink()
    (folder / "tokenizer/vocab.json").write_text(json.dumps(written["model"]["vocab"]))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    old, new = (load_prior(str(path), device="cpu").embed(["a Red, cat"]) for path in (folder, pristine))
    assert torch.equal(old.tokens, new.tokens)
    assert old.offsets == new.offsets


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_truncated_weights(folder: Path, part: str):
    file = next((folder / part).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:2000])
    refused(folder, f"{part}/.* its download stopped")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_incomplete_weights_are_not_filled_with_random_ones(folder: Path, part: str):
    file = next((folder / part).glob("*.safetensors"))
    weights = load_file(file)
    weights.popitem()
    save_file(weights, file, metadata={"format": "pt"})
    refused(folder, rf"{part}/ (lacks 1 of its weights|cannot be read)")


def test_weights_of_another_shape(folder: Path, edit_json: EditJson):
    edit_json(folder / "unet/config.json", block_out_channels=[24, 32])
    refused(folder, "unet/ cannot be read")


def test_a_config_that_is_not_json(folder: Path):
    (folder / "unet/config.json").write_text("{")
    refused(folder, "unet/config.json is not readable JSON")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"in_channels": 9}, r"9 channels \(an inpainting model\), not the 4"),
        ({"in_channels": 8}, "8 channels"),
        ({"addition_embed_type": "text_image"}, "further condition"),
        ({"class_embed_type": "projection"}, "further condition"),
        ({"_class_name": "UNetMotionModel"}, "its network is a UNetMotionModel"),
        ({"_class_name": None}, "its network is a None"),
    ],
)
def test_networks_that_want_more_than_text(
    folder: Path, edit_json: EditJson, changes: dict[str, object], why: str
):
    edit_json(folder / "unet/config.json", **changes)
    refused(folder, f"{why}.*scumble reads Stable Diffusion")


def test_other_codecs_and_text_encoders(folder: Path, edit_json: EditJson):
    edit_json(folder / "text_encoder/config.json", model_type="t5")
    refused(folder, "its text encoder is a t5 model")
    edit_json(folder / "vae/config.json", _class_name="VQModel")
    refused(folder, "its codec is a VQModel")


@pytest.mark.parametrize("part", ["text_encoder_2", "transformer"])
def test_a_part_of_another_family_without_its_config(folder: Path, part: str):
    (folder / part).mkdir()
    refused(folder, f"{part}/config.json is missing")


# What loads well and may be used wrongly


def write_pixel(path: Path, **changes: object) -> None:
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    UNet2DModel(
        sample_size=8, block_out_channels=(8,), norm_num_groups=4, **{**blocks, **changes}
    ).save_pretrained(path / "unet")
    write_scheduler(path)


@pytest.mark.parametrize(
    ("changes", "index", "why"),
    [
        (
            {},
            {"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]},
            r"of its vqvae/.*\(LDMPipeline\)",
        ),
        ({"in_channels": 4, "out_channels": 4}, {}, "its network takes 4 channels and gives 4"),
        ({"num_class_embeds": 10}, {}, r"further condition \(num_class_embeds = 10\)"),
    ],
)
def test_networks_without_text_that_paint_no_plain_pictures(
    tmp_path: Path, changes: dict[str, object], index: dict[str, object], why: str
):
    write_pixel(tmp_path, **changes)
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    refused(tmp_path, why)


@pytest.mark.parametrize(("said", "size"), [(32, 512), (64, 512), (96, 768), (None, 512)])
def test_old_conversions_of_full_size_networks_are_edited_at_their_size(said: int | None, size: int):
    unet = json.loads((CONFIGS / "sd1/unet/config.json").read_text())
    assert latent_card({**unet, "sample_size": said}, 8)["size"] == size
    small = {**unet, "block_out_channels": [32, 64], "sample_size": 32}
    assert latent_card(small, 8)["size"] == 256


def warned(folder: Path, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        advise(Folder.open(folder), **options)
    return [str(each.message) for each in seen]


def test_a_size_that_the_config_understates_is_said(folder: Path, edit_json: EditJson):
    assert not warned(folder)
    full = {"sample_size": 32, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768}
    edit_json(folder / "unet/config.json", **full)
    (warning,) = warned(folder)
    assert "its config says 256 px" in warning
    assert "--size 256" in warning
    (folder / "card.json").write_text("{}")
    assert not warned(folder)


def test_models_that_look_distilled_are_told_of_their_guidance(folder: Path):
    assert not warned(folder, loras=["turbocharger"])
    (warning,) = warned(folder, loras=["pytorch_lcm_lora"])
    assert "'lcm' in its name" in warning
    assert "--guidance 1 to 2" in warning
    turbo = Path(shutil.copytree(folder, folder.parent / "sd-Turbo"))
    assert "'Turbo' in its name" in warned(turbo)[0]
    write_scheduler(folder, _class_name="LCMScheduler")
    assert "its LCMScheduler" in warned(folder)[0]


# The hub's cache


@pytest.mark.slow
def test_a_cached_hub_id_needs_no_network_no_remote_code_and_no_pipelines(pristine: Path, tmp_path: Path):
    repository = tmp_path / "models--owner--name"
    shutil.copytree(pristine, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0" * 40)
    code = """
import sys
from scumble.priors.load import load_prior
card = load_prior("owner/name", device="cpu", offline=True).card
from diffusers.utils.constants import DIFFUSERS_DISABLE_REMOTE_CODE
pipelines = [name for name in sys.modules if name.startswith("diffusers.pipelines.")]
print(card.id, card.hash, DIFFUSERS_DISABLE_REMOTE_CODE, len(pipelines))
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("DIFFUSERS_DISABLE_REMOTE_CODE", None)
    ran = subprocess.run(  # a process of its own: the libraries read the environment when imported
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["owner/name", Folder.open(pristine).digest(), "True", "0"]
    assert ran.stderr == ""


def test_a_file_of_the_hubs_cache_is_known_by_its_name(folder: Path, tmp_path: Path):
    before = Folder.open(folder).digest()
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    blob = tmp_path / hashlib.sha256(file.read_bytes()).hexdigest()
    file.rename(blob)
    try:
        file.symlink_to(blob)
    except OSError:
        pytest.skip("no symbolic links here")
    assert Folder.open(folder).digest() == before


# Manners


def test_loading_is_silent_and_leaves_no_setting_behind(folder: Path, capfd: pytest.CaptureFixture[str]):
    from transformers.utils import logging

    file = folder / "text_encoder/model.safetensors"
    save_file({**load_file(file), "left_over": torch.zeros(1)}, file, metadata={"format": "pt"})
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_prior(str(folder), device="cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_a_device_that_is_not_here_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise NotImplementedError(
            "No kernel for 'MPS'. This could be because of many things, see https://..."
        )

    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(
        InputError, match=r"^device: 'mps' cannot be used here \(No kernel for 'MPS'\); try cpu$"
    ):
        resolve_device("mps")


@pytest.mark.parametrize(("fast", "warned"), [(torch.float32, True), (torch.bfloat16, False)])
def test_bfloat16_on_a_processor_that_only_emulates_it(
    fast: torch.dtype, warned: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scumble.core.precision.fast_dtype", lambda device="cpu": fast)
    for dtype in ("bfloat16", "float32", "auto"):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            load_prior(str(folder), device="cpu", dtype=dtype)
        slow = [w for w in seen if "slower in it than in float32" in str(w.message)]
        assert len(slow) == (warned and dtype == "bfloat16")
