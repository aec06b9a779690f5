"""The recipe end to end, on a budget of seconds: that it runs, resumes, and loads like any checkpoint."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.pixels import to_images
from scumble.scenes import WORDS, Scene, Thing, full_caption, read, render, scenes
from scumble.train import card
from scumble.train import run as running
from scumble.train.bank import Bank, Batch
from scumble.train.captions import owners
from scumble.train.codec import (
    CodecRecipe,
    DecoderRecipe,
    codec_loss,
    crops,
    new_codec,
    standardised,
    train_codec,
    train_decoder,
    wholes,
    widened,
)
from scumble.train.data import SIDE, Canvas, canvases, fitted, wide
from scumble.train.denoiser import alphas_cumprod, digest, errors, times
from scumble.train.denoiser_recipe import DenoiserRecipe
from scumble.train.drawn import Drawings, attributes_of, owners_of
from scumble.train.gates import Figure
from scumble.train.lessons import pointing_loss
from scumble.train.prior import METHOD, _keep, load_codec, load_networks, snapshot, train_prior
from scumble.train.reading import IGNORED, Questions, questions
from scumble.train.run import COOL_DOWN, WARM_UP, Run
from scumble.train.state import State
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
    images = to_images([c.pixels for c in islice(canvases(0), 2)])
    with torch.no_grad():
        z = prior.encode(images)
        p = prior.predict(z, torch.tensor([500, 500]), prior.embed(["a red circle", ""]))
        assert z.shape == (2, 8, 16, 16)
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
    assert (snapshot(tmp_path / "next.log", tmp_path / "now") / file).read_bytes() == (
        trained / file
    ).read_bytes()
    (tmp_path / "next.log/vae").rename(tmp_path / "vae")
    with pytest.raises(InputError, match="its codec is not there yet; run the training's own command again"):
        snapshot(tmp_path / "next.log", tmp_path / "none")
    third = train_prior(tmp_path / "third", minutes=SECONDS, from_=again, keep_codec=True, bank=20)
    logs = {"denoiser": third, "earlier-denoiser": again, "earlier-earlier-denoiser": trained}
    for name, of in logs.items():
        assert (third / f"{name}.jsonl").read_text() == (of / "denoiser.jsonl").read_text()


@pytest.mark.slow
def test_a_run_that_was_cut_off_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = CodecRecipe(minutes=1000, channels=(8, 8, 8, 8), batch=1)

    class Cut(Exception):
        pass

    def cut(self: Run, *args: object, **shown: object) -> None:
        update(self, *args, **shown)  # pyright: ignore[reportArgumentType]
        if self.step % 3 == 0:
            raise Cut

    update = Run.update
    monkeypatch.setattr(Run, "update", cut)
    spent = []
    for last in (3, 6):
        with pytest.raises(Cut):
            train_codec(recipe, tmp_path)
        state = torch.load(tmp_path / "codec.resume.pt", weights_only=True)
        assert state["step"] == last
        spent.append(state["minutes"])
    assert spent[1] > spent[0]


def test_a_run_goes_on_with_another_budget_but_not_with_another_recipe(tmp_path: Path):
    recipe = CodecRecipe(minutes=SECONDS / 10, channels=(8, 8, 8, 8), batch=1)
    train_codec(recipe, tmp_path)
    train_codec(replace(recipe, minutes=2 * recipe.minutes), tmp_path)
    with pytest.raises(InputError, match="rate: 0.0015 then, 0.1 now"):
        train_codec(replace(recipe, rate=0.1), tmp_path)


def test_no_room_for_a_checkpoint_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = CodecRecipe(minutes=SECONDS / 10, channels=(8, 8, 8, 8), batch=1)
    train_codec(recipe, tmp_path)
    last = (tmp_path / "codec.resume.pt").read_bytes()

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"No space left.*stays.*Free some disk space"):
        train_codec(replace(recipe, minutes=2 * recipe.minutes), tmp_path)
    assert (tmp_path / "codec.resume.pt").read_bytes() == last
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_of_another_world_is_refused(tmp_path: Path):
    log = tmp_path / "scenes.log"
    log.mkdir()
    (log / "codec.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="version 1 of the scenes world"):
        train_prior(tmp_path / "scenes", minutes=SECONDS)


def test_a_bank_too_large_for_the_memory_is_refused():
    with pytest.raises(InputError, match="GiB of memory"):
        Bank(iter(Drawings(0)), lambda images: images, 8, 10**12)


def test_the_rate_holds_and_cools_down_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = Run("test", tmp_path, torch.nn.Linear(1, 1), rate=1.0, minutes=10, ema=0.9)
    run.step = WARM_UP
    rates = []
    for share in (0.1, 0.5, 1 - COOL_DOWN, 1 - COOL_DOWN / 2, 1):
        monkeypatch.setattr(Run, "progress", share)
        run.going()
        rates.append(run.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.001])


def test_a_resumed_run_may_cool_down_at_another_time_but_not_warm_up(tmp_path: Path):
    def run(**recipe: object) -> Run:
        return Run("test", tmp_path, torch.nn.Linear(1, 1), rate=1.0, minutes=10, ema=0.9, recipe=recipe)

    run(warm_up=5, cool_down=0.2).save()
    run(warm_up=5, cool_down=0.5)
    with pytest.raises(InputError, match="warm_up: 5 then, 6 now"):
        run(warm_up=6, cool_down=0.2)


def test_the_channels_weigh_in_the_loss_as_the_recipe_says():
    x0, eps, t = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.tensor([10, 500, 900])
    abar = torch.linspace(0.999, 0.01, 1000)
    none = lambda x, t, ids: torch.zeros_like(x)  # noqa: E731
    each = [
        errors(none, x0, eps, t, t, abar, torch.tensor(w)[:, None, None]) for w in ((2.0, 0.0), (0.0, 2.0))
    ]
    assert torch.allclose((each[0] + each[1]) / 2, errors(none, x0, eps, t, t, abar), atol=1e-6)
    alpha, sigma = abar[t, None, None].sqrt(), (1 - abar[t, None, None]).sqrt()
    first = (alpha * eps[:, 0] - sigma * x0[:, 0]).square().mean((1, 2))
    assert torch.allclose(each[0], first, atol=1e-6)


def test_a_widened_codec_draws_what_it_drew_and_its_new_channels_live():
    old = new_codec(CodecRecipe(latent_channels=4, channels=(8, 8, 8, 8))).eval()
    new = widened(old, CodecRecipe(channels=(8, 8, 8, 8))).eval()
    images = next(wholes(0, 2))
    with torch.no_grad():
        before, after = old.encode(images).latent_dist, new.encode(images).latent_dist
        assert torch.allclose(before.mean, after.mean[:, :4], atol=1e-5)
        assert (after.mean[:, 4:].std((0, 2, 3)) > 0.05).all()
        assert (after.std[:, 4:] < 0.05).all()


@pytest.mark.slow
def test_standardised_latents_have_unit_variance_and_the_same_pictures():
    codec = new_codec(CodecRecipe(channels=(8, 8, 8, 8))).eval()
    images = next(wholes(1, 4))
    with torch.no_grad():
        before = codec.decode(codec.encode(images).latent_dist.mean).sample
        dist = codec.encode(images).latent_dist
        spread = dist.std / dist.mean.std((0, 2, 3), keepdim=True)
        standardised(codec, 3, 100)
        dist = codec.encode(torch.cat([next(wholes(3, 50)), next(wholes(3, 50))])).latent_dist
        assert torch.allclose(dist.mean.mean((0, 2, 3)), torch.zeros(8), atol=0.2)
        assert torch.allclose(dist.mean.std((0, 2, 3)), torch.ones(8), atol=0.2)
        assert codec.config.scaling_factor == 1
        after = codec.encode(images).latent_dist
        assert torch.allclose(codec.decode(after.mean).sample, before, atol=1e-4)
        assert torch.allclose(after.std / after.mean.std((0, 2, 3), keepdim=True), spread, rtol=1e-3)


def test_labels_and_pointing_know_what_is_where():
    thing = Thing(shape="star", colour="blue", size="large", place="left")
    other = Thing(shape="ring", colour="red", place="right")
    canvas = Canvas(Scene(things=(thing, other)), 1.0, render(Scene(things=(thing, other)), SIDE))
    where = owners_of(canvas)
    assert where[8, 4] == 1
    assert 2 in where[:, 11:]
    assert where[0, 0] == 0
    assert attributes_of(canvas.scene)[1].tolist() == [4, 6, 1]
    text = "a red ring on the right and a large blue star"
    spoken = owners(text, canvas.scene)
    assert spoken[1 : 1 + len(text.split())] == [0, 2, 2, 0, 0, 2, 0, 0, 1, 1, 1]
    assert owners("", canvas.scene) == [0] * LENGTH

    refers = torch.tensor([spoken])
    nothing = torch.zeros(1).long()
    batch = Batch(
        torch.zeros(1, 8, 16, 16), torch.from_numpy(where)[None].long(), torch.zeros(1, 3, 3).long(), nothing,
        nothing, refers, nothing, nothing,
    )  # fmt: skip
    inside = torch.stack([(batch.owners[0] == k).flatten().float() for k in range(3)])
    right = inside[refers[0]].T[None] + 1e-6
    wrong = inside[(3 - refers[0]) % 3].T[None] + 1e-6
    once = torch.ones(1)
    assert pointing_loss([right], batch, once) < 1e-3 < 1 < pointing_loss([wrong], batch, once)


def test_the_bank_keeps_what_belongs_together():
    drawings = Drawings(3, captions=2, at_once=4)
    bank = Bank(iter(drawings), lambda images: images[:, :1, ::8, ::8], 1, 8, captions=2)
    bank.grow(8)
    bank.grow(4)  # the ring: the first four are replaced
    chunks = list(islice(iter(drawings), 3))
    kept = bank.first(8)
    for at, chunk in ((0, chunks[2]), (4, chunks[1])):
        assert torch.equal(kept.owners[at : at + 4], chunk.owners.long())
        assert torch.equal(kept.ids[at : at + 4], chunk.ids[:, 0].long())
        assert torch.equal(kept.nouns[at : at + 4], chunk.nouns[:, 0].long())
        seen = chunk.pixels[:, ::8, ::8, 0] / 127.5 - 1
        assert torch.allclose(kept.latents[at : at + 4, 0], seen, atol=1e-3)
    unsaid = bank.draw(5, unprompted=1.0)
    assert (unsaid.ids == bank.draw(1, unprompted=1.0).ids).all()
    assert not unsaid.refers.any()
    assert (unsaid.ends == IGNORED).all()
    said = bank.draw(50, unprompted=0.0)
    assert all((said.latents[k] == kept.latents).flatten(1).all(1).any() for k in range(50))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_draw_pictures_of_their_own():
    first, second = islice(Drawings(5, at_once=2).by(2), 2)
    assert torch.equal(first.pixels, next(iter(Drawings(5, at_once=2))).pixels)
    assert not torch.equal(first.pixels, second.pixels)


@pytest.mark.parametrize("low", [0, 0.25, 0.5, 0.75, 1])
def test_the_recipe_chooses_the_share_of_low_noise(low: float):
    drawn = times(torch.rand(64, generator=torch.Generator().manual_seed(0)), 1000, low)
    assert (drawn < 500).double().mean() == low
    for half in (drawn[drawn < 500], drawn[drawn >= 500] - 500):
        if len(half):
            assert half.min() < 500 / len(half)
            assert half.max() >= 500 - 500 / len(half)


def test_a_share_of_low_noise_beyond_1_is_refused():
    with pytest.raises(InputError, match="low"):
        DenoiserRecipe(low=1.5)


def test_unanswered_questions_cost_nothing():
    questioned = Questions(8)
    hidden = torch.randn(2, LENGTH, 8)
    nouns, ends = (
        torch.from_numpy(np.stack(p)) for p in zip(*map(questions, ["", "a red circle"]), strict=True)
    )
    loss, _ = questioned.loss(hidden, nouns, ends)
    alone, _ = questioned.loss(hidden[1:], nouns[1:], ends[1:])
    assert torch.allclose(loss, alone)
    assert questioned.loss(hidden[:1], nouns[:1], ends[:1])[0] == 0


def test_the_reading_asks_what_captions_say():
    nouns, whole = questions("on a white background, a red circle and a small dotted blue star on the left")
    assert whole.tolist() == [1, 1, 0, 0, 0, 4, 6, 3, 1, 1, 1, 0]
    answered = [i for i, row in enumerate(nouns) if row[0] >= 0]
    assert len(answered) == 2


@pytest.mark.slow
def test_a_snapshot_of_an_unfinished_training(trained: Path, tmp_path: Path):
    made = snapshot(trained.with_name(trained.name + ".log"), tmp_path / "now")
    assert (made / "unet/diffusion_pytorch_model.safetensors").exists()
    with pytest.raises(InputError, match="exists"):
        snapshot(trained.with_name(trained.name + ".log"), tmp_path / "now")
    with pytest.raises(InputError, match=r"denoiser\.resume\.pt"):
        snapshot(tmp_path, tmp_path / "other")


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
    from scumble.train.denoiser_recipe import DenoiserRecipe

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
    for canvas in islice(canvases(1), 60):
        assert canvas.pixels.shape == (SIDE, SIDE, 3)
        assert read(full_caption(canvas.scene)).allows(canvas.scene)
    assert next(crops(1, 3, 64)).shape == (3, 3, 64, 64)
    assert next(wholes(1, 2)).abs().max() <= 1


def test_padding_repeats_the_edge():
    rng = np.random.default_rng(0)
    for canvas in (wide(rng) for _ in range(60)):
        height, width = fitted(canvas.aspect, SIDE)
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        assert (canvas.pixels[: top + 1] == canvas.pixels[top]).all()
        assert (canvas.pixels[:, : left + 1] == canvas.pixels[:, left : left + 1]).all()


@pytest.mark.slow
def test_the_codec_learns():
    torch.manual_seed(0)
    codec = new_codec(CodecRecipe(channels=(8, 8, 8, 8)))
    optimiser = torch.optim.AdamW(codec.parameters(), 3e-3)
    images = next(crops(2, 8, 32))
    losses = []
    for _ in range(60):
        loss, _ = codec_loss(codec, images, CodecRecipe())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("written", "kept"), [({"method": "sdedit"}, "sdedit"), ({}, METHOD)])
def test_measuring_keeps_the_method_that_a_card_names(
    written: dict[str, str], kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "card.json").write_text(json.dumps({"id": "scenes", **written}))
    for part in ("load_prior", "measure", "write_card"):
        monkeypatch.setattr(card, part, lambda *_, **__: {})
    card.make_card(tmp_path, guidance=3.0)
    assert json.loads((tmp_path / "card.json").read_text())["method"] == kept


def test_figures():
    assert Figure.of([1.0, 0.0]) == Figure(mean=0.5, std=0.5, count=2)


def test_a_kept_codec_is_noted_and_another_one_refused(tmp_path: Path):
    codecs = [new_codec(CodecRecipe(channels=(8, 8, 8, 8))) for _ in range(2)]
    for _ in range(2):
        _keep(codecs[0], tmp_path)
    assert digest(load_codec(tmp_path / "vae")) == digest(codecs[0])
    with pytest.raises(InputError, match="that training has another codec than --from"):
        _keep(codecs[1], tmp_path)


def test_a_run_whose_loss_is_not_finite_stops_and_keeps_its_checkpoint(tmp_path: Path):
    model = torch.nn.Linear(1, 1)
    with (
        pytest.raises(
            InputError, match=r"the loss is not finite by step 2; the last good checkpoint is .*resume"
        ),
        Run("test", tmp_path, model, rate=0.1, minutes=10, ema=0.9) as run,
    ):
        run.update(run.model(torch.ones(1, 1)).sum(), pictures=1)
        run.save()
        run.update(run.model(torch.full((1, 1), torch.nan)).sum(), pictures=1)
        run.save()
    assert torch.load(tmp_path / "test.resume.pt", weights_only=True)["step"] == 1
    run = Run("test", tmp_path, torch.nn.Linear(1, 1), rate=0.1, minutes=10, ema=0.9)
    run.update(run.model(torch.full((1, 1), torch.inf)).sum(), pictures=1)
    with pytest.raises(InputError, match="not finite"):
        run._log()
    assert not (tmp_path / "test.jsonl").exists()


def test_a_run_takes_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "new_accelerator", lambda **_: SimpleNamespace(num_processes=2))
    with pytest.raises(InputError, match="test: 2 processes; this training takes one"):
        Run("test", tmp_path, torch.nn.Linear(1, 1), rate=0.1, minutes=10, ema=0.9)


def test_the_decoder_is_trained_where_the_codec_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    codec = new_codec(CodecRecipe(channels=(8, 8, 8, 8)))
    moved: list[object] = []
    monkeypatch.setattr(codec, "to", moved.append)
    train_decoder(DecoderRecipe(minutes=0, batch=1), codec, tmp_path)
    assert moved == [torch.device("cpu")]  # the run's own


def test_a_state_is_read_without_the_device_that_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state = State(tmp_path / "x.resume.pt", {"seed": 0})
    state.keep({"x": torch.zeros(2)})
    told: dict[str, object] = {}
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda path, **said: told.update(said) or load(path, **said))
    assert state.read() is not None
    assert told["map_location"] == "cpu"
