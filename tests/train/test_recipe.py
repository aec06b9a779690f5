"""The recipe end to end, on a budget of seconds: that it runs, resumes, and loads like any checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.pixels import to_images
from scumble.scenes import WORDS, full_caption, read, scenes
from scumble.train import card
from scumble.train.codec import CodecRecipe, codec_loss, crops, new_codec, train_codec, wholes
from scumble.train.data import SIDE, canvases, padded
from scumble.train.denoiser import alphas_cumprod
from scumble.train.gates import Figure
from scumble.train.prior import METHOD, load_networks, train_prior
from scumble.train.tokenizer import LENGTH, new_tokenizer

SECONDS = 1 / 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_prior(tmp_path_factory.mktemp("train") / "scenes", minutes=3 * SECONDS, bank=40)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trained_folder_loads_like_any_checkpoint(trained: Path):
    from scumble.priors.load import load_prior

    prior = load_prior(str(trained), device="cpu")
    assert prior.card.words == WORDS
    assert prior.card.multiple == prior.card.size == SIDE
    assert prior.card.method == METHOD
    assert prior.schedule.prediction == "v"
    assert torch.allclose(prior.schedule.abar.float(), alphas_cumprod())  # pyright: ignore[reportOptionalMemberAccess]
    images = to_images([canvas for _, (_, canvas) in zip(range(2), canvases(0), strict=False)])
    with torch.no_grad():
        z = prior.encode(images)
        p = prior.predict(z, torch.tensor([500, 500]), prior.embed(["a red circle", ""]))
        assert z.shape == (2, 4, 16, 16)
        assert prior.decode(p.x0).shape == images.shape
    assert {p.name for p in trained.iterdir()} >= {
        "card.json",
        "recipe.json",
        "codec.jsonl",
        "denoiser.jsonl",
    }
    assert sum(f.stat().st_size for f in trained.rglob("*")) < 40e6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_prior_starts_the_next_one_and_its_codec_can_be_kept(trained: Path, tmp_path: Path):
    again = train_prior(tmp_path / "next", minutes=SECONDS, from_=trained, keep_codec=True, bank=20)
    file = "vae/diffusion_pytorch_model.safetensors"
    assert (again / file).read_bytes() == (trained / file).read_bytes()
    rows = (again / "denoiser.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] >= 1
    assert all(str(trained) not in file.read_text() for file in again.rglob("*.json"))


@pytest.mark.slow
def test_a_run_that_was_cut_off_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from scumble.train import run

    recipe = CodecRecipe(minutes=2 * SECONDS, channels=(8, 8, 8, 8), batch=1)
    saves = []

    class Cut(Exception):
        pass

    def cut(self: run.Run, *args: object, **shown: object) -> None:
        update(self, *args, **shown)  # pyright: ignore[reportArgumentType]
        if self.step == 3 and not saves:
            self._save()
            saves.append(self.elapsed)
            raise Cut

    update = run.Run.update
    monkeypatch.setattr(run.Run, "update", cut)
    with pytest.raises(Cut):
        train_codec(recipe, tmp_path)
    assert (tmp_path / "codec.resume.pt").exists()
    train_codec(recipe, tmp_path)
    last = json.loads((tmp_path / "codec.jsonl").read_text().splitlines()[-1])
    assert last["step"] > 3
    assert last["minutes"] >= saves[0]
    assert not (tmp_path / "codec.resume.pt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minutes": 0}, "positive"),
        ({"minutes": float("nan")}, "positive"),
        ({"keep_codec": True}, "--from"),
        ({"from_": Path("nowhere")}, "model_index.json"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path: Path, options: dict[str, object], words: str):
    with pytest.raises(InputError, match=words):
        train_prior(tmp_path / "out", **options)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "out").exists()


def test_an_occupied_folder_is_left_alone(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        train_prior(tmp_path)


def test_no_prior_to_start_from(tmp_path: Path):
    from scumble.train.denoiser import DenoiserRecipe

    with pytest.raises(InputError, match="model_index"):
        load_networks(tmp_path, DenoiserRecipe())


def test_every_word_of_the_world_is_one_token_and_full_captions_fit():
    tokenizer = new_tokenizer()
    assert all(len(tokenizer(word).input_ids) == 3 for word in WORDS)
    longest = max(
        len(tokenizer(full_caption(s)).input_ids) for _, s in zip(range(300), scenes("train"), strict=False)
    )
    assert longest <= LENGTH
    assert new_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_training_pictures_are_canvases_with_true_captions():
    for _, (scene, canvas) in zip(range(30), canvases(1), strict=False):
        assert canvas.shape == (SIDE, SIDE, 3)
        assert read(full_caption(scene)).allows(scene)
    assert next(crops(1, 3, 64)).shape == (3, 3, 64, 64)
    assert next(wholes(1, 2)).abs().max() <= 1


def test_padding_repeats_the_edge():
    scene = next(scenes("train"))
    rng = np.random.default_rng(0)
    seen = [padded(scene, rng) for _ in range(20)]
    sideways = [c for c in seen if (c[:, 0] == c[:, 1]).all() and (c[:, -1] == c[:, -2]).all()]
    upward = [c for c in seen if (c[0] == c[1]).all() and (c[-1] == c[-2]).all()]
    assert sideways
    assert upward


@pytest.mark.slow
def test_the_codec_learns():
    torch.manual_seed(0)
    codec = new_codec(CodecRecipe(channels=(8, 16, 16, 16)))
    optimiser = torch.optim.AdamW(codec.parameters(), 3e-3)
    images = next(crops(2, 8, 32))
    losses = []
    for _ in range(100):
        loss, _ = codec_loss(codec, images, 1e-4)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("told", "kept"), [({"method": "sdedit"}, "sdedit"), ({}, METHOD)])
def test_measuring_keeps_the_method_that_a_card_names(
    told: dict[str, str], kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "card.json").write_text(json.dumps({"id": "scenes", **told}))
    for part in ("load_prior", "measure", "write_card"):
        monkeypatch.setattr(card, part, lambda *_, **__: {})
    card.make_card(tmp_path, guidance=3.0)
    assert json.loads((tmp_path / "card.json").read_text())["method"] == kept


def test_figures():
    assert Figure.of([1.0, 0.0]) == Figure(mean=0.5, std=0.5, count=2)
