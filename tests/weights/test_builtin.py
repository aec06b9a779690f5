"""The built-in prior: complete, small, honest about itself, and no worse than its card says (a fast subset)."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scumble
from scumble.core.pixels import psnr, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.priors._find import builtin
from scumble.scenes import WORDS, Scene, Thing, edits, full_caption, read_picture, render, scenes
from scumble.train.data import canvases
from scumble.train.denoiser_recipe import DenoiserRecipe
from scumble.train.gates import codec_gates, edit_scenes, inversion_psnr, sample, samples
from scumble.train.prior import METHOD, load_networks
from scumble.train.tokenizer import new_tokenizer

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def folder() -> Path:
    return builtin("scenes")


@pytest.fixture(scope="module")
def prior() -> Prior:
    return scumble.load("scenes", device="cpu")


@pytest.fixture(scope="module")
def gates(folder: Path) -> dict[str, dict[str, float]]:
    return json.loads((folder / "gates.json").read_text())


def test_it_is_complete_and_small(folder: Path):
    assert sum(f.stat().st_size for f in folder.rglob("*")) < 40e6
    for name in (
        "README.md",
        "card.json",
        "gates.json",
        "recipe.json",
        "samples.png",
        "edits.png",
        "loss.png",
    ):
        assert (folder / name).exists(), name
    assert not list(folder.rglob("*.bin"))


def test_its_card_says_what_it_is(prior: Prior, folder: Path):
    card = prior.card
    assert card.id == "scenes"
    assert card.words <= WORDS  # the world has learned new ones since
    assert (card.size, card.multiple) == (128, 128)
    assert card.licence == "Apache-2.0"
    assert card.recommended["dds"]["guidance"]
    assert card.method == METHOD
    assert f"`{METHOD}`" in (folder / "README.md").read_text()
    assert prior.schedule.prediction == "v"


@pytest.mark.slow
@torch.no_grad()
def test_latents_have_unit_variance(prior: Prior):
    z = prior.encode(to_images([c.pixels for c in islice(canvases(11, "test"), 100)]))
    assert z.shape == (100, 8, 16, 16)
    assert float(z.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_the_codec_holds_its_gate(prior: Prior, gates: dict[str, dict[str, float]]):
    figure = codec_gates(prior, 50, 0)["codec_psnr_db"]
    spread = gates["codec_psnr_db"]["std"] / 50**0.5
    assert figure.mean > gates["codec_psnr_db"]["mean"] - 4 * spread
    assert gates["codec_psnr_db"]["mean"] >= 30


@pytest.mark.slow
def test_inversion_returns(prior: Prior, gates: dict[str, dict[str, float]]):
    figure = inversion_psnr(prior, 4)
    measured = gates["inversion_psnr_db"]
    assert figure.mean > measured["mean"] - 4 * measured["std"] / 4**0.5


@pytest.mark.slow
def test_backgrounds_and_looks_of_captions_are_followed(prior: Prior, gates: dict[str, dict[str, float]]):
    drawn = list(islice(scenes("test", 2, 1), 12))
    guidance = float(str(gates["guidance"]))
    seen = [
        read_picture(p).scene for p in sample(prior, [*map(full_caption, drawn)], guidance=guidance, steps=20)
    ]
    right = [(a.background, a.look) == (b.background, b.look) for a, b in zip(drawn, seen, strict=True)]
    assert sum(right) >= 9


@pytest.mark.slow
def test_captions_are_followed_as_often_as_the_card_says(prior: Prior, gates: dict[str, dict[str, float]]):
    figure = samples(prior, 1, guidance=float(str(gates["guidance"])), count=24, steps=20)
    measured = gates["samples_right.1"]
    assert figure.mean > measured["mean"] - 3 * measured["std"] / 24**0.5


@pytest.mark.slow
def test_backgrounds_are_what_was_said(prior: Prior):
    white, black = sample(
        prior, [f"a red circle on a {b} background by day" for b in ("white", "black")], guidance=3, steps=20
    )
    assert np.median(white) > 200
    assert np.median(black) < 55


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), [(None, METHOD), ("dds", "dds")])
def test_a_circle_is_recoloured(method: str | None, name: str, prior: Prior):
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
    edit = scumble.edit(
        Image.fromarray(render(scene, 200)),
        source="a red circle on a white background",
        target="a blue circle on a white background",
        method=method,
        model=prior,
    )
    assert edit.provenance["method"] == name
    assert edit.picture is not None
    assert edit.picture.size == (200, 200)
    middle = np.asarray(edit.picture)[80:120, 80:120].reshape(-1, 3).mean(0)
    assert middle[2] > middle[0] + 40
    assert np.asarray(edit.picture)[:10].mean() > 235


@torch.no_grad()
def test_equal_prompts_change_nothing(prior: Prior):
    image = to_images([render(next(scenes("test", 12)), 128)])
    request = EditRequest(image=image, source="a red circle", target="a red circle")
    edit = scumble.DDS(steps=3)(prior, request)
    assert torch.equal(edit.latent, prior.encode(image))


@pytest.mark.slow
def test_dds_moves_pictures_towards_the_true_edit(
    prior: Prior, gates: dict[str, dict[str, dict[str, float]]]
):
    drawn = list(islice(edits("test", 4, ("background",)), 4))
    guidance = float(str(gates["guidance"]))
    judged, _ = edit_scenes(prior, scumble.DDS(guidance=guidance, steps=60, rate=0.15), drawn)
    assert (
        sum(j.left is not None and j.left < 1 for j in judged) >= 3
    )  # nearer to the true edit than the source was


@pytest.mark.slow
def test_a_short_prompt_is_its_own_picture(prior: Prior):
    """Pictures come from the prompt, not from the seed alone."""
    a = sample(prior, ["a red circle on a white background"], guidance=3, steps=10)
    b = sample(prior, ["a red circle on a brick background"], guidance=3, steps=10)
    assert np.abs(a[0].astype(int) - b[0]).mean() > 20


def test_full_captions_fit_the_tokenizer(prior: Prior, recwarn: pytest.WarningsRecorder):
    prior.embed([full_caption(s) for s in islice(scenes("test", 13), 50)])
    assert not list(recwarn)


@torch.no_grad()
def test_padded_pictures_survive_the_codec(prior: Prior):
    """Pictures of another aspect ratio, as the canvas pads them."""
    from scumble.pictures.canvas import Fit

    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
    canvas = Fit.of((300, 200), 128, 128).pad(render(scene, (85, 128)))
    (copy,) = to_pixels(prior.decode(prior.encode(to_images([canvas]))))
    assert psnr(canvas, copy) > 27


@torch.no_grad()
def test_a_warm_start_means_the_same_by_every_word(prior: Prior, folder: Path):
    """Also where the tokenizer's ids are others today than when the weights were trained."""
    captions = [full_caption(s) for s in islice(scenes("test", 14), 8)]
    _, networks = load_networks(folder, DenoiserRecipe())
    ids = new_tokenizer()(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    words = max(len(c.split()) for c in captions)
    now = networks.text_encoder(ids).last_hidden_state
    assert torch.allclose(now[:, :words], prior.embed(captions).tokens[:, :words], atol=1e-3)


def test_its_clip_finds_captions_and_is_given_by_name(prior: Prior):
    from scumble.editing import given
    from scumble.networks.clip import LatentClip

    (clip,) = given.read({"clip": "scenes"}).values()
    assert isinstance(clip, LatentClip)
    gates = json.loads((builtin("scenes-clip") / "gates.json").read_text())
    assert gates["clean"] >= 0.9


def test_its_classifier_names_what_it_sees_and_is_given_by_name(prior: Prior):
    from scumble.editing import given
    from scumble.networks.classifier import LatentClassifier

    (classifier,) = given.read({"classifier": "scenes"}).values()
    assert isinstance(classifier, LatentClassifier)
    gates = json.loads((builtin("scenes-classifier") / "gates.json").read_text())
    assert gates["clean"] == min(gates["accuracy"]["clean"].values()) >= 0.95
    drawn = list(islice(scenes("test", 21, 1), 32))
    z = prior.encode(to_images([render(scene, 128) for scene in drawn]))
    said = classifier.log_prob(z, torch.zeros(len(drawn), dtype=torch.int64))
    named = [
        [classifier.classes[group[int(row[group].argmax())]] for group in map(list, classifier.groups)]
        for row in said
    ]
    wanted = [
        [thing.shape, thing.colour, thing.texture, f"{scene.background} background"]
        for scene in drawn
        for thing in scene.things
    ]
    right = [
        a == b for one, other in zip(named, wanted, strict=True) for a, b in zip(one, other, strict=True)
    ]
    assert sum(right) / len(right) > 0.9
