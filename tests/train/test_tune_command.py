"""`scumble tune` and `scumble train sr3` by their commands: a run, what its file is good for, and bad input."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from PIL import Image

from scumble import artifacts, cli
from scumble.artifacts.tuned import TunedWeights
from scumble.core.atomic import claimed
from scumble.editing.upscale import Upscaling
from scumble.pictures.reading import read_passport
from scumble.train import sr3_gates, tune

Run = Callable[..., tuple[int, str]]
pytestmark = pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")


@pytest.fixture
def run(
    loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """run(words...): the exit code and stderr of a command, in a folder with three pictures in dogs/."""
    monkeypatch.chdir(tmp_path)
    Path("dogs").mkdir()
    Path("empty").mkdir()
    for k, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40, 30), colour).save(f"dogs/{k}.png")

    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        return cli.run([str(word) for word in words]), capsys.readouterr().err

    return call


BIND = ("--prompt", "a q b", "--word", "q", "--set", "steps=1", "--set", "class_n=1")


def test_dreambooth_is_tuned_and_painted_with(run: Run) -> None:
    code, said = run("tune", "dreambooth", "dogs", *BIND, "--checkpointing", "-o", "dog.tuned")
    assert code == 0, said
    assert "use it with: scumble paint PROMPT --given tuned=dog.tuned" in said
    made = artifacts.load(Path("dog.tuned"))
    assert isinstance(made, TunedWeights)
    assert (made.form, made.recipe["values"]["class_n"]) == ("lora", 1)
    assert Path("dog.tuned.lora.safetensors").is_file()
    code, said = run("paint", "a q", "--steps", 1, "--given", "tuned=dog.tuned", "-o", "it.png")
    assert code == 0, said
    passport = read_passport(Path("it.png"))
    assert passport is not None
    assert set(passport["given"]) == {"tuned"}
    assert run("replay", "it.png", "--given", "tuned=dog.tuned")[0] == 0


@pytest.mark.parametrize(
    ("method", "words"),
    [("imagic", ["--set", "embedding_steps=1"]), ("unitune", ["--word", "q"])],
)
def test_a_picture_is_tuned_and_edited_with(method: str, words: list[str], run: Run) -> None:
    asked = ("--prompt", "a b", "--set", "steps=1", *words, "--precision", "bf16", "-o", "x.tuned")
    code, said = run("tune", method, "dogs/0.png", *asked)
    assert code == 0, said
    target = ("--target", "a b", "--method", method, "--given", "tuned=x.tuned", "--steps", 1)
    code, said = run("edit", "dogs/0.png", *target, "-o", "out.png")
    assert code == 0, said
    with Image.open("out.png") as made:
        assert made.size == (40, 30)


def test_weights_of_another_model_are_refused(run: Run) -> None:
    code, said = run("tune", "dreambooth", "dogs", *BIND, "-o", "dog.tuned")
    assert code == 0, said
    made = artifacts.load(Path("dog.tuned"))
    assert isinstance(made, TunedWeights)
    artifacts.save(replace(made, prior="other", prior_hash="0" * 64), Path("other.tuned"))
    before = sorted(Path().rglob("*"))
    given = ("--given", "tuned=other.tuned", "--steps", 1, "-o", "it.png")
    for line in (
        ("paint", "a q", *given),
        ("edit", "dogs/0.png", "--source", "a b", "--target", "a q", *given),
    ):
        code, said = run(*line)
        assert (code, "tuned: tuned from model 'other' (hash 00000000)" in said) == (2, True), said
    Path("notes.tuned").write_text("no weights")
    code, said = run("paint", "a q", "--given", "tuned=notes.tuned", "--steps", 1)
    assert (code, "notes.tuned" in said) == (2, True), said
    assert sorted(Path().rglob("*")) == sorted([*before, Path("notes.tuned")])


def test_a_stop_is_told_and_leaves_no_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **more: object) -> None:
        raise tune.Stopped

    monkeypatch.setattr(tune, "tune", stopped)
    code, said = run("tune", "unitune", "dogs/0.png", "--prompt", "a", "--word", "q", "-o", "x.tuned")
    assert (code, "stopped; the same command goes on from x.tuned.resume.pt" in said) == (130, True)
    assert not Path("x.tuned").exists()


def test_a_stop_while_the_class_is_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        assert given[-1]()
        raise tune.Stopped

    monkeypatch.setattr(tune, "class_pictures", interrupted)
    code, said = run("tune", "dreambooth", "dogs", *BIND, "-o", "x.tuned")
    assert (code, "stopped before the training; the same command begins anew" in said) == (130, True)
    assert not Path("x.tuned").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("dreambooth", "empty", *BIND), "empty: no pictures there; it takes PNG, JPEG and WebP files"),
        (("dreambooth", "cats", *BIND), "cats"),
        (("dreambooth", "dogs", *BIND, "--set", "rank=0"), "rank: 0 must be at least 1"),
        (("dreambooth", "dogs", *BIND, "--set", "targets=to_x"), "to_x matches no layer"),
        (("dreambooth", "dogs", *BIND, "--class-pictures", "empty"), "empty: no pictures there"),
        (
            ("dreambooth", "dogs", *BIND, "--class-pictures", "dogs", "--set", "class_n=4"),
            "class pictures: 3 there, and class_n=4 are asked for",
        ),
        (("dreambooth", "dogs", *BIND, "--precision", "fp16"), "precision: fp16 does nothing on a CPU"),
        (("imagic", "dogs", "--prompt", "a"), "imagic: 3 pictures, and it learns from one"),
        (("imagic", "dogs/0.png"), "prompt: empty"),
        (("dds", "dogs/0.png"), "method: 'dds' tunes no model"),
        (("unitune", "dogs/0.png", "--prompt", "a", "--word", "q", "--precision", "fp8"), "precision: 'fp8'"),
    ],
)
def test_bad_input(run: Run, words: tuple[str, ...], expected: str) -> None:
    before = sorted(Path().rglob("*"))
    code, said = run("tune", *words, "-o", "x.tuned")
    assert (code, expected in said) == (2, True), said
    assert sorted(Path().rglob("*")) == before


def test_a_common_word_is_doubted_and_an_existing_file_kept(run: Run) -> None:
    Path("x.tuned").write_bytes(b"mine")
    common = ("--prompt", "a b", "--word", "a", "--set", "steps=1", "--set", "preservation=0", "-o")
    assert (
        "x.tuned: exists already; --overwrite replaces it"
        in run("tune", "dreambooth", "dogs", *common, "x.tuned")[1]
    )
    assert Path("x.tuned").read_bytes() == b"mine"
    code, said = run("tune", "dreambooth", "dogs", *common, "y.tuned")
    assert (code, "warning: word 'a' is common: its token is number" in said) == (0, True)


def test_a_stage_is_trained_and_upscales(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with a tiny recipe; what is measured at the end is measured on one scene."""
    once: Any = partial(sr3_gates.measured)
    monkeypatch.setattr(sr3_gates, "measured", lambda stage, *_: once(stage, Upscaling(steps=1), 1))
    command = ("train", "sr3", "--minutes", 0, "--n", 2, "--batch", 1, "-o", "stage")
    with monkeypatch.context() as cut:
        cut.setattr(sr3_gates, "measured", Mock(side_effect=KeyboardInterrupt))
        assert run(*command)[0] != 0
    assert not Path("stage/gates.json").exists()
    with claimed(Path("stage")):
        assert "another run is writing this now" in run(*command)[1]
    code, said = run(*command)  # it goes on where it was cut off
    assert code == 0, said
    about = json.loads(Path("stage/config.json").read_text())
    assert (about["recipe"]["bank"], about["recipe"]["batch"]) == (2, 1)
    assert json.loads(Path("stage/gates.json").read_text())["scenes"] == 1
    code, said = run("upscale", "dogs/0.png", "--stage", "stage", "--steps", 1, "-o", "large.png")
    assert code == 0, said
    with Image.open("large.png") as made:
        assert made.size == (80, 60)
    Path("other").mkdir()
    assert "other: there is something else in its place" in run("train", "sr3", "-o", "other")[1]


def test_a_folder_of_something_else_is_no_stage(run: Run) -> None:
    Path("mine").mkdir()
    for text in ("{}", "[]", "mine"):
        Path("mine/config.json").write_text(text)
        Path("mine/gates.json").write_text("{}")
        assert "mine: there is something else in its place" in run("train", "sr3", "-o", "mine")[1]
