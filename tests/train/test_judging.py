"""`scumble train classifier` and `scumble train clip` on toy sizes: they learn, resume, are saved and read again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from scumble.core.errors import InputError
from scumble.core.judges import Classifier, Embedder
from scumble.core.schedule import Schedule
from scumble.networks import load
from scumble.networks._latents import probe
from scumble.networks.classifier import ClassifierNetwork, LatentClassifier
from scumble.networks.tower import TowerConfig, angles
from scumble.priors.exact import GaussianPrior
from scumble.scenes.world import COLOURS, Scene, Thing
from scumble.train import gallery
from scumble.train.classifier import ClassifierRecipe, Lesson, classification, unet_of
from scumble.train.classifier import train_classifier as train_classifier_from
from scumble.train.clip import ClipRecipe, contrast, train_clip
from scumble.train.curves import GROUPS, accuracies, truth
from scumble.train.denoiser import SCHEDULER, new_text_encoder, new_unet
from scumble.train.denoiser_recipe import DenoiserRecipe
from scumble.train.gallery import Gallery

TOY = ClassifierRecipe(minutes=1e-9, pictures=16, tests=16, batch=8)
TOY_CLIP = ClipRecipe(
    minutes=1e-9,
    pictures=16,
    tests=16,
    batch=8,
    width=8,
    tower=TowerConfig(channels=2, widths=(8, 8), level_width=8),
)
TOY_MODEL = DenoiserRecipe(
    latent_channels=2, channels=(32, 32), heads=(2, 2), attention=(True, False), text_width=16, text_layers=1
)


def train_classifier(
    codec: Any, out: Path, recipe: ClassifierRecipe, pictures: Path | None = None
) -> LatentClassifier:
    torch.manual_seed(3)
    unet, text = new_unet(TOY_MODEL), new_text_encoder(TOY_MODEL)
    return train_classifier_from(codec, unet, text, out, recipe, pictures=pictures)


@pytest.fixture(scope="module")
def codec() -> Any:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=2, latent_channels=2, scaling_factor=1.0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "CHUNK", 8)
    monkeypatch.setattr(gallery, "AT_ONCE", 8)


class Encoding(GaussianPrior):
    """A prior whose encoder is the codec's, and whose schedule is Stable Diffusion's."""

    def __init__(self, codec: Any, schedule: Schedule | None = None):
        super().__init__({"": 0.0}, 1.0, schedule or Schedule.from_config(SCHEDULER))
        self.codec = codec

    def encode(self, image: Any, noise: Any = None) -> Any:
        with torch.no_grad():
            return self.codec.encode(image).latent_dist.mean


def test_a_classifier_is_trained_saved_and_read(codec: Any, tmp_path: Path) -> None:
    made = train_classifier(codec, tmp_path / "out", TOY)
    read = load("classifier", tmp_path / "out")
    assert isinstance(read, Classifier)
    assert read.noisy
    assert read.space == "latents"
    assert {"red", "circle", "striped", "sky background"} < set(read.classes)
    assert [len(group) for group in read.groups] == [len(names) for names in GROUPS.values()]
    x = torch.randn(2, 2, 16, 16)
    for t in (None, torch.tensor([500, 900])):
        said = read.log_prob(x, t)
        torch.testing.assert_close(said, made.log_prob(x, t), atol=0.02, rtol=0)
        for group in map(list, read.groups):
            torch.testing.assert_close(said[:, group].exp().sum(1), torch.ones(2))
    assert not read.log_prob(x).allclose(read.log_prob(x, torch.tensor([900, 900])), atol=1e-4)
    read.check(Encoding(codec))
    told = json.loads((tmp_path / "out/gates.json").read_text())
    assert set(told["accuracy"]["clean"]) == set(GROUPS)
    assert told["passed"] is False
    assert (tmp_path / "out.log/pictures/train-1-0001.safetensors").is_file()


def test_a_clip_is_trained_saved_and_read(codec: Any, tmp_path: Path) -> None:
    text = new_text_encoder(DenoiserRecipe(text_width=16, text_layers=1))
    made = train_clip(codec, text, tmp_path / "out", TOY_CLIP)
    read = load("clip", tmp_path / "out")
    assert isinstance(read, Embedder)
    x, words = (
        torch.randn(2, 2, 16, 16, requires_grad=True),
        ["a red circle", "a blue star on a white background"],
    )
    texts = read.embed_text(words)
    torch.testing.assert_close(texts, made.embed_text(words), atol=0.02, rtol=0)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    (grad,) = torch.autograd.grad((read.embed_image(x, torch.tensor([5, 900])) * texts).sum(), x)
    assert float(grad.abs().max()) > 0
    assert [m.shape[1:] for m in read.maps(x)] == [(8, 16, 16), (8, 8, 8)]
    clean = read.clean()
    assert (clean.noisy, clean.clean()) == (False, clean)
    torch.testing.assert_close(clean.embed_image(x), read.embed_image(x))
    with pytest.raises(InputError, match="has more than the 32 tokens that out reads"):
        read.embed_text(["a red circle and " * 20])
    assert 0 <= json.loads((tmp_path / "out/gates.json").read_text())["retrieval"]["clean"]["right"] <= 1


def test_a_training_goes_on_where_it_was_cut_off(codec: Any, tmp_path: Path) -> None:
    train_classifier(codec, tmp_path / "out", TOY)
    train_classifier(codec, tmp_path / "again", TOY, pictures=tmp_path / "out.log/pictures")
    (tmp_path / "again.log").joinpath("classifier.resume.pt").unlink()
    (tmp_path / "out.log/classifier.resume.pt").rename(tmp_path / "again.log/classifier.resume.pt")
    with pytest.raises(InputError, match="not an empty folder; choose a new one for the trained network"):
        train_classifier(codec, tmp_path / "again", TOY)
    for file in (tmp_path / "again").iterdir():
        file.unlink()
    train_classifier(codec, tmp_path / "again", TOY, pictures=tmp_path / "out.log/pictures")
    rows = [json.loads(line) for line in (tmp_path / "again.log/classifier.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2
    for file in (tmp_path / "again").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="began with another recipe"):
        train_classifier(
            codec, tmp_path / "again", replace(TOY, rate=1.0), pictures=tmp_path / "out.log/pictures"
        )


def test_pictures_are_encoded_once(codec: Any, tmp_path: Path) -> None:
    calls = list[int]()

    def encode(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return images[:, :2, ::8, ::8]

    first = Gallery.fill(tmp_path, encode, "codec", 16)
    more = Gallery.fill(tmp_path, encode, "codec", 20)
    assert calls == [8, 8, 8]
    assert more.latents[:16].equal(first.latents)
    assert more.scenes[:16] == first.scenes
    with pytest.raises(InputError, match="encoded with another codec"):
        Gallery.fill(tmp_path, encode, "another", 16)


def test_other_latent_spaces_and_schedules_are_refused(codec: Any, tmp_path: Path) -> None:
    train_classifier(codec, tmp_path / "out", TOY)
    made = load("classifier", tmp_path / "out")
    with pytest.raises(
        InputError, match="looks at latents of 2 x 8 x 8 for 64 x 64 pixels, but 'gaussian' makes 3 x 64"
    ):
        made.check(GaussianPrior({"": 0.0}))
    torch.manual_seed(5)
    other = AutoencoderKL.from_config(codec.config)
    with pytest.raises(InputError, match="was trained on the latents of another codec than 'gaussian' has"):
        made.check(Encoding(other))
    with pytest.raises(InputError, match="knows the noise levels of another schedule than 'gaussian' has"):
        made.check(Encoding(codec, Schedule.linear()))
    with pytest.raises(InputError, match="the folder holds a classifier, not a clip"):
        load("clip", tmp_path / "out")


def test_truth_is_that_of_any_object_and_vague_values_do_not_count() -> None:
    red = Thing(shape="circle", colour="red")
    blue = Thing(shape="star", colour="blue", texture="dotted", vague=("colour",))
    wanted, counts = truth([Scene(things=(red,)), Scene(things=(red, blue), background="sky")])
    names = [name for group in GROUPS.values() for name in group]
    assert {names[i] for i in wanted[0].nonzero().flatten()} == {"circle", "red", "plain", "white background"}
    assert float(wanted[1, names.index("star")]) == 0.5
    assert counts.tolist() == [[1, 1, 1, 1], [1, 0, 1, 1]]
    torch.testing.assert_close(wanted.sum(1), torch.full((2,), 4.0))
    sure = (wanted[:1] - 0.5) * 100
    assert float(classification(sure, wanted[:1], counts[:1])) < 1e-6
    unsure = classification(torch.zeros(1, len(names)), wanted[:1], counts[:1])
    assert abs(float(unsure) - sum(np.log(len(group)) for group in GROUPS.values())) < 1e-5
    assert len(COLOURS) == 8


def test_contrast_is_least_where_each_has_its_own() -> None:
    x = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    scale = torch.tensor(3.0)
    assert float(contrast(x, x, scale)) < float(contrast(x, x.roll(1, 0), scale))


def test_the_noise_level_is_an_angle() -> None:
    alpha, sigma = torch.tensor([1.0, 0.6, 0.0]), torch.tensor([0.0, 0.8, 1.0])
    torch.testing.assert_close(
        angles(alpha, sigma), torch.tensor([0.0, 0.9273, torch.pi / 2]), atol=1e-4, rtol=0
    )
    assert probe().shape == (1, 3, 64, 64)
    assert float(probe().abs().max()) <= 1


@pytest.mark.slow
def test_a_classifier_learns_backgrounds_at_once_and_less_from_noise(tmp_path: Path) -> None:
    """On shrunken pixels in the place of latents, for which no codec is needed."""
    shrunk = lambda images: torch.nn.functional.avg_pool2d(images, 8)  # noqa: E731
    train, test = (
        Gallery.fill(tmp_path, shrunk, "", n, split, things=1) for n, split in ((512, "train"), (128, "test"))
    )
    assert all(len(scene.things) == 1 for scene in train.scenes)
    torch.manual_seed(0)
    config = dict(new_unet(replace(TOY_MODEL, latent_channels=3)).config)
    network = ClassifierNetwork(config, torch.zeros(4, 16), sum(map(len, GROUPS.values())), width=32)
    lesson = Lesson(32, train.scenes)
    parameters = [*network.parameters(), *lesson.parameters()]
    (wanted, counts), optimiser = truth(train.scenes), torch.optim.AdamW(parameters, lr=3e-3)
    losses = list[tuple[float, float]]()
    for k in range(60):
        rows = torch.arange(k * 32, (k + 1) * 32) % len(train)
        x, owners = train.some(rows, 2)
        features = network.features(x, torch.zeros(32))
        said, seen = (
            classification(network.pooled(features), wanted[rows], counts[rows]),
            lesson.loss(features, rows, owners),
        )
        optimiser.zero_grad()
        (said + seen).backward()
        optimiser.step()
        losses.append((float(said.detach()), float(seen.detach())))
    assert losses[-1][0] < 0.75 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]
    told = {"scheduler": SCHEDULER, "groups": GROUPS, "probe": {"latent": []}}
    curve = accuracies(LatentClassifier("toy", network, told), test, 0)
    assert curve["clean"]["background"] > 0.4  # of 14
    assert curve["900"]["background"] < curve["clean"]["background"]


def test_a_moved_picture_keeps_its_objects(tmp_path: Path) -> None:
    shrunk = lambda images: torch.nn.functional.avg_pool2d(images, 8)  # noqa: E731
    pictures, rows = Gallery.fill(tmp_path, shrunk, "", 8, things=1), torch.arange(8)
    x, owners = pictures.some(rows)
    assert x.equal(pictures.latents.float())
    torch.manual_seed(0)
    moved, there = pictures.some(rows, 3)
    assert not moved.equal(x)
    assert there.sum((1, 2)).equal(owners.sum((1, 2)))
    for a, b, before, after in zip(x, moved, owners, there, strict=True):
        assert b[:, after > 0].equal(a[:, before > 0])


def test_a_u_net_of_another_model_is_refused(codec: Any, tmp_path: Path) -> None:
    unet, text = new_unet(replace(TOY_MODEL, latent_channels=4)), new_text_encoder(TOY_MODEL)
    with pytest.raises(
        InputError, match="--unet: it takes latents of 4 channels and texts of width 16; the codec"
    ):
        train_classifier_from(codec, unet, text, tmp_path / "out", TOY)
    assert not (tmp_path / "out").exists()


def test_a_classifier_of_a_saved_u_net_does_not_tell_its_folder(codec: Any, tmp_path: Path) -> None:
    new_unet(TOY_MODEL).save_pretrained(tmp_path / "unet")
    unet, text = unet_of(tmp_path / "unet"), new_text_encoder(TOY_MODEL)
    train_classifier_from(codec, unet, text, tmp_path / "made", TOY)
    assert str(tmp_path) not in (tmp_path / "made" / "config.json").read_text()
    assert isinstance(load("classifier", tmp_path / "made"), LatentClassifier)


def test_a_classifier_begins_from_the_u_net(codec: Any) -> None:
    unet = new_unet(TOY_MODEL)
    network = ClassifierNetwork(dict(unet.config), torch.randn(4, 16), 5)
    network.trunk.begin(unet)
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([3, 700])
    seen: list[torch.Tensor] = []
    unet.mid_block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    unet(x, t, encoder_hidden_states=network.trunk.null.expand(2, -1, -1))
    torch.testing.assert_close(network.trunk(x, t)[-1], seen[0])
