"""Methods guided by networks, from the command line: the network's folder is given, stamped and asked for again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import scumble as library
from scumble import artifacts, cli
from scumble.networks import _latents, load
from scumble.networks.classifier import ClassifierNetwork, LatentClassifier
from scumble.networks.clip import ClipNetwork, LatentClip
from scumble.networks.tower import TowerConfig
from scumble.pictures import reading
from scumble.train.denoiser import new_text_encoder, new_unet
from scumble.train.denoiser_recipe import DenoiserRecipe
from scumble.train.tokenizer import new_tokenizer

TOWER = TowerConfig(channels=4, widths=(8, 8), level_width=8)
WORDS = ["--source", "a red circle", "--target", "a blue circle", "--set", "steps=2", "--set", "strength=1"]


def scumble(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


def about(kind: str, model: library.Prior, **more: object) -> dict[str, Any]:
    """What a network says that fits the tiny model."""
    scheduler = {
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
    }
    tower = {"channels": 4, "widths": [8, 8], "blocks": 1, "level_width": 8}
    return _latents.about(kind, "tiny", scheduler, model.encode(_latents.probe()), tower=tower, **more)


@pytest.fixture
def classifier(model: library.Prior, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    groups = {"shape": ["circle", "star"], "colour": ["red", "blue"]}
    unet = new_unet(
        DenoiserRecipe(
            latent_channels=4, channels=(32, 32), heads=(2, 2), attention=(True, False), text_width=16
        )
    )
    told = about("scumble-classifier", model, groups=groups, unet=dict(unet.config), null=[4, 16])
    network = ClassifierNetwork(told["unet"], torch.zeros(4, 16), 4)
    LatentClassifier("mine", network, told).save(tmp_path / "classifier")
    return tmp_path / "classifier"


@pytest.fixture
def clip(model: library.Prior, tmp_path: Path) -> Path:
    torch.manual_seed(2)
    text = new_text_encoder(DenoiserRecipe(text_width=16, text_layers=1))
    told = about("scumble-clip", model, text=text.config.to_dict(), width=8)
    LatentClip("mine", ClipNetwork(TOWER, text, 8), told, new_tokenizer()).save(tmp_path / "clip")
    return tmp_path / "clip"


def test_a_classifier_guides_an_edit_that_can_be_replayed(
    png: Path, loaded: list[str], classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, given = png.with_name("blue.png"), f"classifier={classifier}"
    assert scumble("edit", png, *WORDS, "--method", "classifier_guidance", "--given", given, "-o", out) == 0
    passport = reading.read_passport(out)
    assert passport is not None
    assert passport["given"] == {"classifier": artifacts.digest(load("classifier", classifier))}
    again = png.with_name("again.png")
    assert scumble("replay", out, "--given", given, "-o", again) == 0
    assert Image.open(again).tobytes() == Image.open(out).tobytes()
    capsys.readouterr()
    assert (
        scumble("edit", png, *WORDS, "--method", "classifier_guidance", "-o", png.with_name("rod.png")) == 2
    )
    assert "name its file or folder with --given classifier=PATH" in capsys.readouterr().err
    unknown = ["--set", "label=rod"]
    line = ["edit", png, *WORDS, *unknown, "--method", "classifier_guidance", "--given", given]
    assert scumble(*line, "-o", png.with_name("rod.png")) == 2
    assert "it has circle, star, red, blue" in capsys.readouterr().err
    assert not png.with_name("rod.png").exists()


@pytest.mark.parametrize("method", ["sdg", "blended_diffusion"])
def test_a_clip_guides_an_edit(png: Path, loaded: list[str], clip: Path, method: str) -> None:
    out = png.with_name("blue.png")
    Image.new("L", Image.open(png).size, 255).save(png.with_name("mask.png"))
    line = [
        "edit",
        png,
        *WORDS,
        "--method",
        method,
        "--given",
        f"clip={clip}",
        "--mask",
        png.with_name("mask.png"),
    ]
    assert scumble(*line, "-o", out) == 0
    assert Image.open(out).size == Image.open(png).size


def test_a_reference_is_taken_where_it_helps(png: Path, loaded: list[str], clip: Path) -> None:
    line = ["edit", png, *WORDS, "--method", "sdg", "--given", f"clip={clip}", "--set", "image_loss=style"]
    assert (
        scumble(*line, "--set", "image_weight=1e-6", "--reference", png, "-o", png.with_name("out.png")) == 0
    )


def test_networks_of_other_models_are_refused(
    png: Path, loaded: list[str], classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((classifier / "config.json").read_text())
    told["scheduler"]["beta_end"] = 0.02
    (classifier / "config.json").write_text(json.dumps(told))
    line = ["edit", png, *WORDS, "--method", "classifier_guidance", "--given", f"classifier={classifier}"]
    assert scumble(*line, "-o", png.with_name("out.png")) == 2
    assert "knows the noise levels of another schedule than" in capsys.readouterr().err
    assert not png.with_name("out.png").exists()
