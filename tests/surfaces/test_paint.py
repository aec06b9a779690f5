"""`scumble paint` and `scumble.paint`: pictures from words, their files and passports, and made again."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

import scumble
from scumble import cli
from scumble.cli import paint as command
from scumble.cli.app import app
from scumble.core.errors import InputError
from scumble.editing.paint import PaintRecipe
from scumble.editing.paint import paint as plan
from scumble.pictures import reading

PROMPT = "a red circle"
Paint = Callable[..., int]


@pytest.fixture
def paint(loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paint:
    """paint(words...): the exit code of a painting by the tiny model, two steps a picture, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words, steps="2": cli.run(["paint", *(words or (PROMPT,)), "--steps", steps])


def passport(path: str | Path) -> dict[str, Any]:
    found = reading.read_passport(Path(path))
    assert found is not None
    return found


def test_a_picture_and_how_it_was_made(paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(PROMPT, "--negative", "blue", "--guidance", "2", "--size", "128x64") == 0
    assert capsys.readouterr().out.split() == ["a-red-circle.paint.png"]
    with Image.open("a-red-circle.paint.png") as picture:
        assert picture.size == (128, 64)
    told = passport("a-red-circle.paint.png")
    assert (told["method"], told["target"], told["negative"], told["size"]) == (
        "sampling", PROMPT, "blue", [128, 64],
    )  # fmt: skip
    assert told["settings"]["guidance"] == {"value": 2.0, "from": "user"}
    assert told["settings"]["eta"] == {"value": 0.0, "from": "method"}
    assert told["evaluations"] == 4


def test_several_pictures_are_those_of_their_seeds(paint: Paint) -> None:
    assert paint(PROMPT, "--n", "2", "--seed", "7", "-o", "many") == 0
    assert paint(PROMPT, "--seed", "8", "-o", "one.png") == 0
    names = sorted(path.name for path in Path("many").iterdir())
    assert names == ["a-red-circle.seed-7.png", "a-red-circle.seed-8.png", "sheet.png"]
    first, second, alone = (
        np.asarray(Image.open(path)) for path in [*sorted(Path("many").glob("a-*")), Path("one.png")]
    )
    assert np.array_equal(second, alone)
    assert not np.array_equal(first, second)


def test_further_prompts_change_the_picture_and_stand_in_its_passport(paint: Paint) -> None:
    assert paint(PROMPT, "-o", "one.png") == 0
    assert paint(PROMPT, "--and", "a star:0.5", "--and", "a cat", "-o", "three.png") == 0
    assert passport("three.png")["also"] == [["a star", 0.5], ["a cat", 1.0]]
    assert passport("three.png")["evaluations"] == 8
    one, three = (np.asarray(Image.open(f"{name}.png")) for name in ("one", "three"))
    assert not np.array_equal(one, three)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_it_can_be_made_again(paint: Paint, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--and", "a star:-0.5", "--sampler", "dpm", "--size", "64x128", "--set", "rescale=0.5")
    assert paint(PROMPT, *flags, "--seed", "5", "-o", f"it.{suffix}") == 0
    assert cli.run(["replay", f"it.{suffix}", "--json", "-o", "again.png"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["largest"], told["not_as_it_was"]) == (0, [])
    same = {key: value for key, value in passport("again.png").items() if key != "seconds"}
    assert same == {key: value for key, value in passport(f"it.{suffix}").items() if key != "seconds"}


@pytest.mark.parametrize("flag", ["--input", "--mask", "--reference", "--method"])
def test_replay_needs_no_picture(paint: Paint, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(PROMPT, "-o", "it.png") == 0
    assert cli.run(["replay", "it.png", flag, "it.png"]) == 2
    assert "it.png was painted from words alone; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"size": "64x64"}, "size is '64x64'"),
        ({"target": 3}, "target is '3'"),
        ({"also": [["a star"]]}, "also is"),
        ({"also": [5]}, "also is"),
        ({"settings": {"steps": 3}}, "steps is '3'"),
    ],
)
def test_a_damaged_passport_is_refused(
    paint: Paint, damage: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from scumble.pictures import writing

    assert paint(PROMPT, "-o", "it.png") == 0
    writing.save(Image.open("it.png"), Path("bad.png"), passport("it.png") | damage)
    assert cli.run(["replay", "bad.png"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((" ",), "prompt: empty; describe what the picture should show"),
        ((PROMPT, "--size", "101x64"), "size: 101x64; both sides must be multiples of"),
        ((PROMPT, "--size", "64by64"), "--size 64by64: write it as WIDTHxHEIGHT"),
        ((PROMPT, "--size", "99999"), "size: (99999, 99999) is not (width, height)"),
        ((PROMPT, "--and", ":2"), "also: ('', 2.0) is not a prompt"),
        ((PROMPT, "--and", "a star:nan"), "also: ('a star', nan) is not a prompt"),
        ((PROMPT, "--n", "2", "--seed", "1-3"), "--n: --seed names several seeds, too"),
        ((PROMPT, "--sampler", "euler"), "sampler: 'euler' must be one of"),
        ((PROMPT, "--set", "strength=1"), "sampling has no parameter 'strength'"),
        ((PROMPT, "-o", "it.gif"), "it.gif: the name must end in"),
        ((PROMPT, "--n", "2", "-o", "it.png"), "it.png: several results go to a folder"),
    ],
)
def test_bad_input_is_named(
    paint: Paint, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(*words) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_nothing_is_replaced_unless_asked(paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    Path("it.png").write_bytes(b"mine")
    assert paint(PROMPT, "-o", "it.png") == 2
    assert "it.png: this file exists already" in capsys.readouterr().err
    assert Path("it.png").read_bytes() == b"mine"
    assert paint(PROMPT, "-o", "it.png", "--overwrite") == 0


def test_the_examples_parse() -> None:
    for example in command.EXAMPLES:
        _, name, *words = shlex.split(example)
        get_command(app).commands[name].make_context(name, words)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_sampling_edits_nothing(png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--source", "a", "--target", "b", "--method", "sampling"]
    assert cli.run(["edit", str(png), *words]) == 2
    assert "makes pictures of words alone and edits none; use `scumble paint`" in capsys.readouterr().err


def test_sdedit_takes_further_prompts_and_says_so_in_its_passport(
    png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--target", "a blue circle", "--and", "a star:0.5", "--method", "sdedit", "--steps", "4"]
    assert cli.run(["edit", str(png), *words, "-o", str(png.with_name("out.png"))]) == 0
    assert passport(png.with_name("out.png"))["also"] == [["a star", 0.5]]
    assert cli.run(["replay", str(png.with_name("out.png"))]) == 0
    assert "identical in every pixel" in capsys.readouterr().err
    assert cli.run(["edit", str(png), "--source", "a", *words, "--method", "dds"]) == 2
    assert "also: dds follows one target prompt" in capsys.readouterr().err


# In Python


def test_paint_returns_a_picture(model: scumble.Prior) -> None:
    steps: list[scumble.Step] = []
    made = scumble.paint(
        PROMPT, also=["a star"], model=model, size=(128, 64), settings={"steps": 2}, on_step=steps.append
    )
    assert made.picture is not None
    assert made.picture.size == (128, 64)
    assert made.raw.shape == (1, 3, 64, 128)
    assert [step.k for step in steps] == [1, 2]
    assert made.provenance["also"] == [["a star", 1.0]]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"prompt": ["a", "b"]}, "prompt: .* is not one prompt; paint once for each"),
        ({"size": 64}, r"size: 64 is not \(width, height\)"),
        ({"size": (64.0, 64)}, r"size: \(64.0, 64\) is not"),
        ({"also": "a star"}, "also: 'a star' is not a list of prompts"),
        ({"also": [("a star", "much")]}, "is not a prompt, or a pair"),
        ({"also": [("a star", True)]}, "is not a prompt, or a pair"),
        ({"seed": -1}, "seed: -1 is not a whole number"),
        ({"settings": 3}, "settings: 3 is not a dictionary"),
    ],
)
def test_bad_arguments_are_named(what: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PaintRecipe(**{"prompt": PROMPT, **what})


def test_a_model_without_text_paints_without_words(model: scumble.Prior) -> None:
    class Dumb:
        """The tiny model, its card without text."""

        card = replace(model.card, capabilities=frozenset({"gradient"}))

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

    with pytest.raises(InputError, match="takes no text; leave it out"):
        plan(PaintRecipe(PROMPT, model=Dumb()))  # pyright: ignore[reportArgumentType]
    made = plan(PaintRecipe(model=Dumb(), settings={"steps": 2}))()  # pyright: ignore[reportArgumentType]
    assert (made.evaluations, made.provenance["target"]) == (2, None)
