"""Figures are made once, whole or not at all, and say how they were made."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble import InputError, cli
from scumble.pictures import reading
from scumble.reproduce.experiment import Experiment
from scumble.reproduce.figures import FIGURES
from scumble.reproduce.run import Run
from tests.bench.conftest import AnyPrompt

from .conftest import small


def folder(run: Run) -> set[str]:
    return {path.name for path in run.out.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_made(name: str, run: Run) -> None:
    experiment = small(FIGURES[name])
    verdict = run.make(experiment)
    assert folder(run) == {f"{name}{suffix}" for suffix in (".png", ".csv", ".npz", ".json")}
    about = json.loads(run.file(name, ".json").read_text())
    assert about["evaluations"] == experiment.evaluations(3.0)
    passport = reading.read_passport(run.file(name, ".png"))
    assert passport is not None
    assert passport["verdict"] == verdict.sentence
    assert {**passport, **about["settings"]} == passport
    wanted = {"model": "gaussian", "seed": 0, "guidance": 3.0, "n": 2, "split": "validation"}
    assert {key: passport[key] for key in wanted} == wanted
    assert {"hash", "scumble", "torch", "dtype"} <= set(passport)
    lines = run.file(name, ".csv").read_text().splitlines()
    assert len(lines) > 2
    with Image.open(run.file(name, ".png")) as picture:
        assert 700 < picture.width < 900
        assert len(picture.convert("RGB").getcolors(10**6) or ()) > 10
    assert run.file(name, ".png").stat().st_size < 120_000
    text = run.report().read_text()
    assert verdict.sentence in text
    assert f"]({name}.png)" in text
    assert "hash" in text


@pytest.mark.slow
def test_dds_stays_where_it_is_with_equal_prompts(run: Run) -> None:
    kind = FIGURES["identity"]
    assert "the latent of DDS stays equal to its start to the last bit" in run.make(small(kind)).sentence


def broken(run: Run) -> Run:
    """The same run, whose model must not be asked."""

    class Asleep(AnyPrompt):
        def predict(self, *_: object, **__: object) -> Any:
            raise AssertionError("the model was asked")

    return replace(run, material=replace(run.material, prior=Asleep()))


def test_what_is_finished_is_not_made_again(run: Run) -> None:
    experiment = small(FIGURES["norms"])
    verdict = run.make(experiment)
    before = {path: path.read_bytes() for path in run.out.iterdir()}
    times = {path: path.stat().st_mtime_ns for path in run.out.iterdir()}
    asleep = broken(run)
    assert asleep.make(experiment) == verdict
    assert {path: path.stat().st_mtime_ns for path in run.out.iterdir()} == times
    run.file("norms", ".png").unlink()  # a picture is drawn again from the numbers
    asleep.make(experiment)
    assert {path: path.read_bytes() for path in run.out.iterdir()} == before


def test_other_settings_are_refused_or_made_anew(run: Run) -> None:
    run.make(small(FIGURES["norms"]))
    other = replace(small(FIGURES["norms"]), draws=1)
    before = {path: path.read_bytes() for path in run.out.iterdir()}
    with pytest.raises(InputError, match="it was made with draws = 2, which is now 1; name another folder"):
        run.make(other)
    assert {path: path.read_bytes() for path in run.out.iterdir()} == before
    replace(run, overwrite=True).make(other)
    assert json.loads(run.file("norms", ".json").read_text())["settings"]["draws"] == 1
    after = run.file("norms", ".png").read_bytes()
    assert after != before[run.file("norms", ".png")]


def test_an_interrupted_figure_leaves_nothing(run: Run) -> None:
    run.make(small(FIGURES["norms"]))
    before = folder(run)

    class Tired(AnyPrompt):
        calls = 0

        def predict(self, *arguments: Any, **others: Any) -> Any:
            self.calls += 1
            if self.calls > 3:
                raise KeyboardInterrupt
            return super().predict(*arguments, **others)

    tired = replace(run, material=replace(run.material, prior=Tired()))
    with pytest.raises(KeyboardInterrupt):
        tired.make(small(FIGURES["bias"]))
    assert folder(run) == before
    run.make(small(FIGURES["bias"]))
    assert "bias.png" in folder(run)


def test_progress_counts_evaluations(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scumble.reproduce.run.EVERY", 0)
    reports: list[tuple[str, int, int, float]] = []
    replace(run, progress=lambda *of: reports.append(of)).make(small(FIGURES["norms"]))
    assert [rows for _, rows, _, _ in reports] == [4 * k for k in range(1, 9)]
    assert {(name, total) for name, _, total, _ in reports} == {("norms", 32)}
    assert reports[-1][3] == 0


@pytest.mark.parametrize(
    ("suffix", "damage", "words"),
    [
        (
            ".json",
            lambda p: p.write_text("{"),
            "norms.json: it was not written by this command, or is damaged",
        ),
        (".csv", lambda p: p.unlink(), "its .csv or .npz is missing or damaged"),
        (".npz", lambda p: p.write_bytes(b"PK"), "its .csv or .npz is missing or damaged"),
    ],
)
def test_damaged_files_are_named(suffix: str, damage: Callable[[Path], object], words: str, run: Run) -> None:
    run.make(small(FIGURES["norms"]))
    damage(run.file("norms", suffix))
    with pytest.raises(InputError, match=words):
        run.make(small(FIGURES["norms"]))


@pytest.mark.parametrize("kind", FIGURES.values(), ids=list(FIGURES))
def test_defaults_say_what_is_claimed(kind: type[Experiment]) -> None:
    assert kind.title[0].isupper()
    assert kind.claim.endswith((".", ")."))
    assert not kind.criterion.endswith(".")
    assert kind().evaluations(1.0) < kind().evaluations(3.0) or kind.name == "guidance"


# The command ---------------------------------------------------------------------------------------------


def reproduce(*arguments: object) -> int:
    return cli.run(["reproduce", "dds", *map(str, arguments)])


@pytest.mark.slow
def test_the_command(loaded: AnyPrompt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--figure", "identity", "--n", 2, "--steps", 3, "--split", "validation", "-o", tmp_path / "out"]
    assert reproduce(*line, "--dry-run") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "dry run: identity (n = 2): at guidance 7.5" in printed.err
    assert "36 evaluations of the network, about 1 min" in printed.err
    assert not (tmp_path / "out").exists()
    assert reproduce(*line, "--guidance", 2) == 0
    printed = capsys.readouterr()
    names = ["identity.png", "report.md", "sheet.png"]
    assert printed.out.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert "identity: Holds: with equal prompts the latent of DDS stays equal" in printed.err
    assert reproduce(*line, "--guidance", 2, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert reproduce(*line, "--guidance", 3) == 2
    assert "it was made with guidance = 2.0, which is now 3.0" in capsys.readouterr().err
    assert reproduce(*line, "--guidance", 3, "--overwrite", "--quiet") == 0


def data(folder: Path, circle: Image.Image, **others: Image.Image) -> Path:
    """A list of two edits of the circle, with these pictures."""
    folder.mkdir()
    circle.save(folder / "image.png")
    for name, picture in others.items():
        picture.save(folder / f"{name}.png")
    entry = {name: f"{name}.png" for name in ("image", *others)} | {"source": "red", "target": "blue"}
    (folder / "data.jsonl").write_text("\n".join([json.dumps(entry)] * 2))
    return folder


@pytest.mark.slow
def test_your_own_pictures(
    loaded: AnyPrompt, tmp_path: Path, circle: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = data(tmp_path / "data", circle), tmp_path / "out"
    line = ["--data", folder, "-o", out]
    assert reproduce(*line, "--dry-run") == 0
    printed = capsys.readouterr().err
    assert "left out: gradient-maps: it needs a mask for every edit of the list" in printed
    assert "left out: bias: it needs a truth" in printed
    assert "left out: optimizers: it needs a mask and truth" in printed
    assert "sds-vs-dds (n = 2)" in printed
    assert reproduce(*line, "--figure", "gradient-maps") == 2
    assert "--figure gradient-maps: it needs a mask for every edit" in capsys.readouterr().err
    assert not out.exists()
    assert reproduce(*line, "--figure", "sds-vs-dds", "--figure", "long", "--steps", 2, "--quiet") == 0
    assert (out / "long.png").exists()
    mask = Image.new("L", circle.size)
    mask.paste(255, (10, 10, 40, 40))
    masked = data(tmp_path / "masked", circle, mask=mask)
    assert reproduce("--data", masked, "--figure", "gradient-maps", "-o", out, "--quiet") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--figure", "identitty"],
            "no such figure (did you mean 'identity'?); known are sds-vs-dds, identity,",
        ),
        (["--n", 0], "n: 0 must be at least 1"),
        (["--figure", "bias", "--n", 1], "n: 1 must be at least 2"),
        (["--figure", "norms", "--steps", 3], "--steps: norms has none; leave it out"),
        (["--steps", 0], "steps: 0 must be at least 1"),
        (["--split", "train"], "--split train: there are test and validation"),
        (["--data", "nowhere"], "no data.jsonl there"),
        (["--guidance", -1], "guidance: -1.0 must be at least 0"),
    ],
)
def test_bad_input(
    arguments: list[object], words: str, loaded: AnyPrompt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(*arguments, "-o", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""
    assert not (tmp_path / "out").exists()


def test_a_model_without_words(loaded: AnyPrompt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded.card = replace(loaded.card, capabilities=frozenset({"gradient"}))
    assert reproduce("-o", tmp_path / "out") == 2
    assert "reproduce dds needs a model with text, which 'gaussian' does not have" in capsys.readouterr().err


def test_pictures_of_several_shapes(
    loaded: AnyPrompt, tmp_path: Path, circle: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data(tmp_path / "data", circle)
    circle.rotate(90, expand=True).save(folder / "tall.png")
    with (folder / "data.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"image": "tall.png", "source": "red", "target": "blue"}))
    assert reproduce("--data", folder, "-o", tmp_path / "out") == 2
    assert "give pictures of one shape" in capsys.readouterr().err


def test_a_schedule_that_is_too_short(
    loaded: AnyPrompt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded.schedule = replace(loaded.schedule, abar=None, T=500)
    assert reproduce("-o", tmp_path / "out") == 2
    assert "it has 500 times, but the paper draws them up to 948" in capsys.readouterr().err


def test_without_matplotlib(
    loaded: AnyPrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert reproduce("-o", tmp_path / "out") == 2
    assert "matplotlib, which is not installed: pip install 'scumble[figures]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way(loaded: AnyPrompt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert reproduce("--figure", "identity", "--n", 1, "--steps", 1, "-o", tmp_path / "out") == 2
    assert "cannot be made" in capsys.readouterr().err
