"""Edits and paintings at twice their size: what the layer keeps, what averages give back, replay, and bad input."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import scumble
from scumble import InputError, cli
from scumble.editing import upscale, upscaled
from scumble.editing.upscale import Upscaling
from scumble.measuring.measures import distance
from scumble.pictures.reading import read, read_passport
from tests.stages import random_stage

WORDS = {"source": "a red circle", "target": "a blue circle"}
QUICK = {"steps": 1}
pytestmark = pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage that draws something of its own: its weights are random in every layer."""
    return random_stage(tmp_path_factory.mktemp("stage") / "tiny-x2")


@pytest.fixture
def model(model: scumble.Prior, stage: Path, monkeypatch: pytest.MonkeyPatch) -> scumble.Prior:
    """The tiny model, with the stage that its card names."""
    monkeypatch.setattr(type(model), "card", replace(model.card, upscaler=str(stage)))
    return model


def pixels(picture: Any) -> np.ndarray:
    return np.asarray(picture).astype(float)


def averaged(picture: Any) -> np.ndarray:
    values = pixels(picture)
    return values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2, -1).mean((1, 3))


def larger(picture: Any, stage: Path, seed: int = 0) -> Image.Image:
    asked = Upscaling(stage=stage, seed=seed)
    return upscale.upscaled(read(picture), asked, upscale.load(asked))


def test_an_upscaled_edit_is_an_edit_of_the_upscaled_picture(
    model: scumble.Prior, stage: Path, photo: Image.Image
) -> None:
    """Outside the mask it is the stage's own picture; its layer over that picture gives it."""
    mask = Image.new("L", photo.size)
    mask.paste(255, (20, 10, 40, 30))
    asked: dict[str, Any] = {**WORDS, "model": model, "mask": mask, "settings": QUICK, "seed": 3}
    edit = scumble.edit(photo, **asked, upscale=True)
    small = scumble.edit(photo, **asked)
    assert edit.picture is not None
    assert edit.layer is not None
    assert edit.picture.size == edit.layer.size == tuple(2 * side for side in photo.size)
    assert torch.equal(edit.raw, small.raw)

    below, outside = larger(photo, stage, seed=3), np.asarray(mask).repeat(2, 0).repeat(2, 1) == 0
    assert np.array_equal(pixels(edit.picture)[outside], pixels(below)[outside])
    over = Image.composite(edit.layer.convert("RGB"), below, edit.layer.getchannel("A"))
    assert np.array_equal(pixels(over), pixels(edit.picture))
    # The stage draws before and after; where each gives back what it was drawn from, so does what lies between.
    worst = max(np.abs(averaged(larger(x, stage, seed=3)) - pixels(x)).max() for x in (photo, small.picture))
    assert np.abs(averaged(edit.picture) - pixels(small.picture)).max() <= worst + 2


def test_an_upscaled_painting_is_what_the_stage_makes_of_it(model: scumble.Prior, stage: Path) -> None:
    asked: dict[str, Any] = {"model": model, "settings": QUICK, "seed": 5}
    small = scumble.paint("a red circle", **asked)
    for factor in (2, 4):
        made = scumble.paint("a red circle", **asked, upscale=factor)
        expected = upscale.upscaled(read(small.picture), Upscaling(stage=stage, seed=5, factor=factor))  # pyright: ignore[reportArgumentType]
        assert made.picture is not None
        assert np.array_equal(pixels(made.picture), pixels(expected))
        assert torch.equal(made.raw, small.raw)


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_kinds_of_pictures(model: scumble.Prior, photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    edit = scumble.edit(image, **WORDS, model=model, settings=QUICK, upscale=2)
    assert edit.picture is not None
    assert edit.picture.size == tuple(2 * side for side in image.size)
    assert edit.picture.has_transparency_data == (mode == "RGBA")


@pytest.fixture
def here(loaded: list[str], model: scumble.Prior, png: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of circle.png, where commands get the tiny model."""
    monkeypatch.chdir(png.parent)
    return png.parent


def test_the_command_edits_and_replays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--upscale` alone is `--upscale 2`, also before the picture; the passport says what replay needs."""
    words = ["--source", "a red circle", "--target", "a blue circle", "--steps", "1"]
    assert cli.run(["edit", "--upscale", "circle.png", *words, "-o", "out.png", "--compare"]) == 0
    with Image.open("circle.png") as before, Image.open("out.png") as after:
        assert after.size == (2 * before.width, 2 * before.height)
    passport = read_passport(Path("out.png"))
    assert passport is not None
    assert passport["upscale"]["factor"] == 2
    assert passport["upscale"]["stage"]["name"] == "tiny-x2"
    capsys.readouterr()
    assert cli.run(["replay", "out.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["largest"], told["not_as_it_was"]) == (0, [])


def test_the_command_paints_and_replays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["paint", "a red circle", "--steps", "1", "--upscale", "-o", "it.png"]) == 0
    passport = read_passport(Path("it.png"))
    assert passport is not None
    assert passport["upscale"]["factor"] == 2
    capsys.readouterr()
    assert cli.run(["replay", "it.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["largest"], told["not_as_it_was"]) == (0, [])


def test_a_sweep_draws_and_measures_at_the_larger_size(
    here: Path, stage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The distance is that from the input drawn larger, so that what an edit keeps adds nothing."""
    words = ["--source", "a red circle", "--target", "a blue circle", "--method", "dds", "--steps", "1"]
    over = ["--over", "guidance=2,9", "-o", "cells", "--upscale", "2"]
    assert cli.run(["sweep", "circle.png", *words, *over, "--json"]) == 0
    *told, sheet = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    below = larger("circle.png", stage)
    for cell in told:
        with Image.open(cell["file"]) as made:
            assert made.size == below.size
            assert cell["distance"] == distance(below, made)
        assert cell["passport"]["upscale"]["factor"] == 2
        assert cell["direction"] is not None
    assert Path(sheet["file"]).exists()
    assert cli.run(["sweep", "circle.png", *words, *over]) == 0
    assert "made before" in capsys.readouterr().err
    assert cli.run(["sweep", "circle.png", *words, *over[:-1], "4"]) == 2
    assert "upscale factor: 2 then, 4 now" in capsys.readouterr().err


def test_a_dry_run_tells_the_stage_apart(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", "circle.png", "--source", "a red circle", "--target", "a blue circle", "--steps", "5"]
    assert cli.run([*words, "--upscale", "4", "--seed", "0-1", "--dry-run", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    with Image.open("circle.png") as picture:
        width, height = picture.size
    drawn = about["upscale"]
    assert drawn["size"] == [4 * width, 4 * height]
    assert drawn["calls"] == 2 * 2 * 2 * 4  # two edits, before and after, two passes, four steps
    assert 0 < drawn["seconds"] < about["seconds"]
    assert cli.run([*words, "--dry-run", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "upscale" not in plain
    assert about["evaluations"] == 2 * plain["evaluations"]
    assert cli.run([*words, "--upscale", "--dry-run"]) == 0
    assert (
        f"then drawn at {2 * width}x{2 * height}: 8 calls of the stage's network" in capsys.readouterr().err
    )
    assert [path.name for path in here.iterdir()] == ["circle.png"]


@pytest.mark.parametrize("painting", [False, True])
def test_every_call_of_the_stage_is_a_step(model: scumble.Prior, photo: Image.Image, painting: bool) -> None:
    steps = list[scumble.Step]()
    asked: dict[str, Any] = {"model": model, "settings": {"steps": 3}, "upscale": 2, "on_step": steps.append}
    if painting:
        scumble.paint("a red circle", **asked)
    else:
        scumble.edit(photo, **WORDS, **asked)
    calls = 4 if painting else 8
    assert steps[0].n > calls
    assert [(step.k, step.n) for step in steps] == [(k, steps[0].n) for k in range(1, steps[0].n + 1)]
    last = steps[-1 - calls]
    assert last.k == steps[0].n - calls
    assert torch.isfinite(steps[-1].preview()).all()


@pytest.mark.parametrize(
    ("factor", "read_as"),
    [(True, 2), (False, 1), (None, 1), (np.int64(4), 4), (3, None), (2.0, None), ("2", None), (-2, None)],
)
def test_factors(factor: Any, read_as: int | None) -> None:
    if read_as is None:
        with pytest.raises(InputError, match=r"upscale: .*choose 2, or 4 for two passes; 1 is none"):
            scumble.editing.recipe.Recipe("in.png", upscale=factor)
    else:
        assert scumble.editing.recipe.Recipe("in.png", upscale=factor).upscale == read_as


@pytest.mark.parametrize(
    "command", [["edit", "circle.png", "--source", "a", "--target", "b"], ["paint", "a"]]
)
def test_bad_input(
    command: list[str],
    here: Path,
    model: scumble.Prior,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def error(*words: str) -> str:
        assert cli.run([*command, *words]) == 2
        return capsys.readouterr().err

    assert "upscale: 3; a stage doubles a picture" in error("--upscale", "3")
    monkeypatch.setattr(type(model), "card", replace(model.card, upscaler=None))
    assert f"upscale: no stage was made for '{model.card.id}'" in error("--upscale")
    assert [path.name for path in here.iterdir()] == ["circle.png"]


def test_pictures_that_are_too_small_or_would_be_too_large(
    model: scumble.Prior, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="40x12 pixels; the stage needs 16 or more a side"):
        scumble.edit(Image.new("RGB", (40, 12)), **WORDS, model=model, upscale=2)
    monkeypatch.setattr("scumble.pictures.reading.MAX_PIXELS", 60 * 60 * 15)
    with pytest.raises(InputError, match=r"60x60 pixels would become .* megapixels"):
        scumble.edit(Image.new("RGB", (60, 60)), **WORDS, model=model, upscale=4)


def test_a_damaged_passport_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scumble.pictures import writing

    assert cli.run(["paint", "a red circle", "--steps", "1", "--upscale", "-o", "it.png"]) == 0
    passport = dict(read_passport(Path("it.png")) or {})
    for entry in ({"factor": 3}, {}, "2"):
        writing.save(Image.open("it.png"), Path("bad.png"), passport | {"upscale": entry}, replace=True)
        assert cli.run(["replay", "bad.png"]) == 2
        assert "its passport is damaged, upscale is" in capsys.readouterr().err


def test_without_a_stage_nothing_is_made_larger(model: scumble.Prior) -> None:
    assert upscaled.of(1, 0, replace(model.card, upscaler=None), "cpu") is None
