"""The commands: what they write, and that bad input costs one line and leaves nothing behind."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import scumble
from scumble import InputError, Prior, api, cli
from scumble.methods import METHODS, get
from scumble.pictures import reading
from scumble.priors import load
from tests.surfaces.broken import BAD, bad_files

WORDS = ["--source", "a red circle", "--target", "a blue circle"]
DEMO = {"before.png", "after.png", "after.compare.png", "after.film.gif"} | {
    f"two{part}.png" for part in ("", ".recolour", ".reshape", ".background", ".edits")
}
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """refused(arguments...): the one line that a command complains with; code 2, no file written."""

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        code = cli.run([str(a) for a in arguments])
        printed = capsys.readouterr()
        aside = ("warning: ", "model ", "target: ")
        lines = [line for line in printed.err.splitlines() if not line.startswith(aside)]
        assert code == 2, printed
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("scumble: ")
        assert printed.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return run


# Bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures(name: str, circle: Image.Image, tmp_path: Path, refused: Refused) -> None:
    data, _ = bad_files(circle)[name]
    (tmp_path / name).write_bytes(data)
    assert name in refused("edit", tmp_path / name, *WORDS, "-o", tmp_path / "out.png")


def test_pictures_that_are_not_there(png: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such file" in refused("edit", png.with_name("missing.png"), *WORDS)
    assert "a folder" in refused("edit", png.parent, *WORDS)

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read (Permission denied)" in refused("edit", png, *WORDS)


def test_bad_masks(png: Path, tmp_path: Path, refused: Refused) -> None:
    for size, message in [((96, 64), "nothing may change"), ((64, 96), "but the picture has 96x64")]:
        Image.new("L", size).save(tmp_path / "mask.png")
        assert message in refused("edit", png, *WORDS, "--mask", tmp_path / "mask.png")
    assert "no such file" in refused("edit", png, *WORDS, "--mask", tmp_path / "none.png")


def test_bad_prompts(png: Path, refused: Refused) -> None:
    assert "target: empty" in refused("edit", png, "--source", "a red circle")
    assert "target: empty" in refused("edit", png, "--source", "a red circle", "--target", "  ")
    assert "source: empty" in refused("edit", png, "--target", "a blue circle")


def test_an_empty_target_among_several_is_refused(png: Path, loaded: list[str], refused: Refused) -> None:
    needed, prompted = ["--source", "a red circle", "--method", "dds"], ["--method", "sdedit"]
    for flags, message in (needed, "target: empty; dds needs"), (prompted, "target: empty; describe what"):
        for targets in (["a blue circle", ""], ["", "a blue circle"]):
            both = [word for target in targets for word in ("--target", target)]
            assert message in refused("edit", png, *flags, *both, "--steps", 2)


@pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")
def test_a_plan_has_no_empty_target_either(model: Prior, circle: Image.Image) -> None:
    first = api.plan(circle, source="a", target="b", method="sdedit", model=model)
    assert first.vary(seed=3).request.target == "b"
    with pytest.raises(InputError, match="target: empty; describe what the picture should show"):
        first.vary(target="")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "ddss"], "did you mean 'dds'"),
        (["--method", "zzz"], "is unknown; known are "),
        (["--method", "dds", "--set", "stepps=3"], "dds has no parameter 'stepps' (did you mean 'steps'?)"),
        (["--set", "steps"], "NAME=VALUE"),
        (["--set", "steps=0"], "steps: 0 must be at least 1"),
        (["--set", "steps=1.5"], "steps: 1.5 is not a whole number"),
        (["--set", "steps=many"], "steps: 'many' is not a whole number"),
        (["--set", "guidance=nan"], "guidance: nan is not a finite number"),
        (["--set", "guidance=inf"], "guidance: inf is not a finite number"),
        (["--method", "dds", "--set", "rate=-1"], "rate: -1.0 must be greater than 0"),
        (["--method", "sdedit", "--set", "strength=1.5"], "strength: 1.5 must be at most 1"),
        (["--seed", "-1"], "seed: -1 is not a whole number"),
        (["--seed", "one"], "seed: one is not a whole number"),
        (["--seed", "7-0"], "seed: 7-0 runs backwards"),
        (["--seed", "0-1000"], "seed: 0-1000 asks for more than 1000 pictures"),
        (["--seed", "9" * 20], "seed: 99999999999999999999 is not a whole number from 0"),
        (["--method", "dds", "--strength", "0.5"], "dds has no parameter 'strength'; it has steps, rate, "),
        (["--steps", "0"], "steps: 0 must be at least 1"),
        (["--steps", "3", "--set", "steps=4"], "--steps: --set steps=... gives it, too"),
        (["--steps", "9" * 20], "steps: the number is too large; give at most 10,000,000"),
        (["--method", "dds", "--steps", "9" * 20], "steps: the number is too large; give at most 10,000,000"),
        (["--steps", "many"], "'--steps'"),
        (["--change", "red=blue"], "--change: it makes the target from --source"),
        (["--keep", "some"], "keep: 'some'"),
        (["--keep", "3"], "keep: 3"),
        (["--keep", "nan"], "keep: nan"),
        (["--crop", "most"], "crop: 'most'"),
        (["--as", "clay"], "form: 'clay'"),
        (["--size", "1"], "size: 1"),
        (["--memory", "magic"], "memory: 'magic'"),
        (["--revision", "main"], "revision: "),
        (["--sed", "1"], "--sed"),
        (["--model", "scene"], "did you mean 'scenes'"),
        (["--model", "./none"], "no such folder"),
    ],
)
def test_bad_values(flags: list[str], message: str, png: Path, refused: Refused) -> None:
    assert message in refused("edit", png, *WORDS, *flags)


def test_bad_commands(refused: Refused) -> None:
    assert "edti" in refused("edti", "a.png")
    assert "did you mean 'dds'" in refused("methods", "ddss")
    assert "no such folder" in refused("models", "./none")
    assert "no recipe 'cats'" in refused("train", "prior", "cats")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_checkpoints_with_a_missing_part(
    part: str, png: Path, checkpoint: Callable[..., Path], refused: Refused
) -> None:
    folder = checkpoint()
    for file in (folder / part).iterdir():
        file.unlink()
    assert part in refused("edit", png, *WORDS, "--model", folder)


def test_pickled_weights(png: Path, checkpoint: Callable[..., Path], refused: Refused) -> None:
    folder = checkpoint()
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "pickle" in refused("edit", png, *WORDS, "--model", folder)


def test_words_that_the_model_does_not_know(
    png: Path, checkpoint: Callable[..., Path], refused: Refused
) -> None:
    folder = checkpoint(words=["a", "red", "circle"], domain="It knows red circles.")
    message = refused("edit", png, *WORDS, "--model", folder)
    assert "'blue'" in message
    assert "It knows red circles." in message
    assert "--force" in message


def test_bad_outputs(png: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must end in" in refused("edit", png, *WORDS, "-o", tmp_path / "out.gif")
    assert "no such folder" in refused("edit", png, *WORDS, "-o", tmp_path / "none/out.png")
    assert "a file, where a folder is wanted" in refused("edit", png, *WORDS, "-o", png / "out.png")
    assert "overwrite the input" in refused("edit", png, *WORDS, "-o", png)
    clear = Image.open(png).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "alpha.png")
    assert "transparency" in refused("edit", tmp_path / "alpha.png", *WORDS, "-o", tmp_path / "out.jpg")
    assert "cannot be made" in refused("demo", "-o", png / "demo")

    def denied(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", denied)  # chmod would not stop root
    message = refused("edit", png, *WORDS, "-o", tmp_path / "out.png")
    assert "cannot be written (Permission denied)" in message


# Interrupted, and our own faults -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_is_130_and_writes_nothing(png: Path, checkpoint: Callable[..., Path]) -> None:
    arguments = ["edit", png, *WORDS, "--model", checkpoint(), "--set", "steps=1000000"]
    command = [sys.executable, "-m", "scumble", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=heed) as running:
        assert running.stderr is not None
        assert any(line.startswith("model ") for line in running.stderr)
        running.send_signal(signal.SIGINT)
        try:
            out, printed = running.communicate()
        finally:  # where it does not stop, pytest's own limit ends the wait
            running.kill()
    assert running.returncode == 130, printed
    assert out == ""
    assert "interrupted; nothing is left half-written" in printed
    assert "Traceback" not in printed
    assert [p.name for p in png.parent.iterdir()] == [png.name]


def test_ctrl_c_while_saving(
    png: Path, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Image.Image.save

    def interrupted(self: Image.Image, fp: Path, *args: object, **kwargs: object) -> None:
        save(self, fp, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    assert cli.run(["edit", str(png), *WORDS, "--model", str(checkpoint()), "--set", "steps=1"]) == 130
    assert [p.name for p in png.parent.iterdir()] == [png.name]


def test_our_own_faults_are_short(
    png: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "read", lambda *_: 1 / 0)
    assert cli.run(["edit", str(png), *WORDS]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(
        "scumble: unexpected ZeroDivisionError: division by zero (set SCUMBLE_DEBUG=1 to see where"
    )
    assert printed.count("\n") == 1
    monkeypatch.setenv("SCUMBLE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run(["edit", str(png), *WORDS])


# What works ----------------------------------------------------------------------------------------------


def test_edit(png: Path, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint(domain="Noise in bright colours.")
    line = ["edit", str(png), *WORDS, "--model", str(folder), "--set", "steps=2", "--set", "guidance=3"]
    assert cli.run(line) == 0
    printed = capsys.readouterr()
    out = png.with_name("circle.dds.png")
    assert printed.out == f"{out}\n"
    assert f"model {folder.name}: Noise in bright colours." in printed.err
    assert "dds: 2/2 steps, 8 evaluations" in printed.err
    assert Image.open(out).size == (96, 64)
    passport = reading.read_passport(out)
    assert passport is not None
    assert passport["settings"]["steps"] == {"value": 2, "from": "user"}
    assert passport["settings"]["guidance"] == {"value": 3.0, "from": "user"}
    assert cli.run(line) == 0
    assert capsys.readouterr().out == f"{png.with_name('circle.dds-2.png')}\n"
    assert Image.open(png.with_name("circle.dds-2.png")).tobytes() == Image.open(out).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_formats_in_and_out(suffix: str, png: Path, checkpoint: Callable[..., Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying down
    given = png.with_name(f"in{suffix}")
    Image.open(png).save(given, exif=exif)
    out = png.with_name(f"out{suffix}")
    line = ["edit", str(given), *WORDS, "--model", str(checkpoint()), "--set", "steps=1", "-o", str(out)]
    assert cli.run(line) == 0
    with Image.open(out) as image:
        assert image.size == (64, 96)
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.slow
def test_demo_and_the_line_it_ends_with(
    checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    assert cli.run(["demo", "-o", str(folder), "--model", str(checkpoint()), "--set", "steps=3"]) == 0
    assert {p.name for p in folder.iterdir()} == DEMO
    film = Image.open(folder / "after.film.gif")
    assert film.n_frames == 1 + 3  # type: ignore[attr-defined]
    printed = capsys.readouterr()
    assert {Path(line).name for line in printed.out.splitlines()} == DEMO
    by_hand = shlex.split(printed.err.splitlines()[-1])
    assert by_hand[0] == "scumble"
    assert cli.run(by_hand[1:]) == 0
    assert Image.open(folder / "by-hand.png").tobytes() == Image.open(folder / "after.png").tobytes()


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_shown_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods"]) == 0
    assert name in capsys.readouterr().out
    assert cli.run(["methods", name]) == 0
    printed = capsys.readouterr().out
    kind = get(name)
    assert fields(kind)
    assert all(f.name in printed and f.metadata["help"] in printed for f in fields(kind))
    assert kind.paper.bibtex in printed
    assert kind.paper.arxiv in printed


def test_models(checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["models"]) == 0
    assert "scenes" in capsys.readouterr().out
    folder = checkpoint(
        domain="Noise.", words=["a", "b"], method="p2p", recommended={"dds": {"guidance": 2.0}}
    )
    assert cli.run(["models", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "Noise." in printed
    assert "recommended for dds" in printed
    assert "p2p by default" in printed


def test_who_names_no_method_can_see_which_one_it_will_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = load.usual_method("scenes")
    if usual is None:
        pytest.skip("the weights are not in this checkout")
    assert cli.run(["models"]) == 0
    assert f"default method: {usual}" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.run(["edit", "--help"]) == 0
    assert f"(for scenes: {usual})" in capsys.readouterr().out


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.run(["doctor"])
    printed = capsys.readouterr().out
    assert "torch" in printed
    assert "Python" in printed
    assert (code == 0) == ("!!" not in printed)


def test_train_hands_over_to_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    from scumble.train import prior

    asked: dict[str, object] = {}

    def train_prior(out: Path, **options: object) -> Path:
        asked.update(out=out, **options)
        return out

    monkeypatch.setattr(prior, "train_prior", train_prior)
    assert (
        cli.run(["train", "prior", "-o", str(tmp_path / "new"), "--minutes", "5", "--from", str(tmp_path)])
        == 0
    )
    machine = {"batch": 32, "workers": 0, "compiled": False}
    wanted = {"out": tmp_path / "new", "minutes": 5, "from_": tmp_path, "keep_codec": False, "seed": 0}
    assert asked == wanted | machine
    assert str(tmp_path / "new") in capsys.readouterr().out
    monkeypatch.undo()
    assert "minutes: 0" in refused("train", "prior", "--minutes", "0")
    for option in ("--batch", "--bank", "--seed"):
        said = refused("train", "prior", option, "3", "--recipe", "mine.json")
        assert f"{option}: the recipe has its own; leave {option} out, or change it in mine.json" in said
    for command in ("prior", "sr3", "classifier", "clip"):
        assert "--seed" in refused("train", command, "--seed", "-2000")
    assert "no card.json" in refused("train", "card", tmp_path)


def test_no_command_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    printed = capsys.readouterr()
    assert "Usage: scumble" in printed.out + printed.err
    assert "scumble: " not in printed.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"scumble {scumble.__version__}\n"


# With the built-in weights -------------------------------------------------------------------------------


@pytest.mark.weights
def test_a_photograph_is_refused(photo: Image.Image, tmp_path: Path, refused: Refused) -> None:
    photo.save(tmp_path / "photo.png")
    message = refused("edit", tmp_path / "photo.png", "--source", "a corgi", "--target", "a cat")
    assert "'corgi'" in message
    assert "'cat'" in message
    assert "--force" in message


@pytest.mark.weights
def test_a_photograph_is_warned_about(
    photo: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo.save(tmp_path / "photo.png")
    assert cli.run(["edit", str(tmp_path / "photo.png"), *WORDS, "--set", "steps=1"]) == 0
    assert "cannot reproduce this picture" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.weights
def test_make_demos_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scumble", "demo"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=True
    )
    assert {p.name for p in (tmp_path / "demo").iterdir()} == DEMO | {"before.tasks.png"}
    assert "the trained editor: 8 edits" in done.stderr
    assert "warning" not in done.stderr
