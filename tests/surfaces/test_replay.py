"""Replay: the same picture again, from what its file says; and the refusal of anything else."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scumble
from scumble import cli
from scumble.cli.replay import EXAMPLES
from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.editing import loading, passport, replay
from scumble.pictures import reading, writing
from tests.surfaces.test_cli import Refused, refused  # noqa: F401

WORDS = ["--source", "a red circle", "--target", "a blue circle", "--set", "steps=2"]
Run = Callable[..., Path]

pytestmark = pytest.mark.slow  # whole edits, each made twice


@pytest.fixture
def made(png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]) -> Run:
    """made(flags..., out="out.png"): an edit of the circle, saved beside it."""

    def make(*flags: str, out: str = "out.png") -> Path:
        path = png.with_name(out)
        assert cli.run(["edit", str(png), *WORDS, *flags, "-o", str(path), "--quiet"]) == 0
        capsys.readouterr()
        return path

    return make


def rewritten(path: Path, **changes: Any) -> Path:
    """The result with another passport inside."""
    recorded = reading.read_passport(path)
    with Image.open(path) as image:
        image.load()
    writing.save(image, path, {**(recorded or {}), **changes})
    return path


# The same again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
def test_the_same_again(name: str, made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = made("--seed", "3", "--guidance", "4", out=name)
    assert cli.run(["replay", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{out}: identical in every pixel" in printed.err


@pytest.mark.parametrize(
    "flags",
    [
        ["--method", "sdedit", "--set", "eta=0.0"],
        ["--keep", "none"],
        ["--keep", "0.2", "--size", "32"],
        ["--negative", "green", "--paper"],
    ],
    ids=" ".join,
)
def test_all_that_an_edit_was_asked(flags: list[str], made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = made(*flags)
    assert cli.run(["replay", str(out), "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["largest"] == 0
    assert report["not_as_it_was"] == []


@pytest.mark.slow
def test_masks_and_cells_of_a_sweep(
    made: Run, png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = png.with_name("mask.png")
    drawn = Image.new("L", (96, 64))
    drawn.paste(255, (40, 20, 60, 40))
    drawn.save(mask)
    out = made("--mask", str(mask), "--size", "16")
    assert cli.run(["replay", str(out)]) == 0
    mask.rename(tmp_path / "elsewhere.png")
    assert cli.run(["replay", str(out)]) == 2
    assert "its mask, 'mask.png', is not next to it; name it with --mask" in capsys.readouterr().err
    assert cli.run(["replay", str(out), "--mask", str(tmp_path / "elsewhere.png")]) == 0
    assert cli.run(["replay", str(out), "--mask", str(png)]) == 2
    assert cli.run(["sweep", str(png), *WORDS, "--over", "guidance=3"]) == 0
    assert (
        cli.run(["replay", str(png.parent / "circle.sweep/guidance-3.png")]) == 0
    )  # its input is one folder up
    assert capsys.readouterr().err.count("identical in every pixel") == 2
    assert cli.run(["replay", str(png.parent / "circle.sweep/sheet.png")]) == 2
    assert "name one of its cells" in capsys.readouterr().err


def test_the_new_picture_is_kept_where_asked_and_overwrites_nothing(
    made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out = made()
    again = out.with_name("again.png")
    assert cli.run(["replay", str(out), "-o", str(again)]) == 0
    assert capsys.readouterr().out == f"{again}\n"
    then, now = reading.read_passport(out), reading.read_passport(again)
    assert then is not None
    assert now is not None
    assert {**now, "seconds": 0} == {**then, "seconds": 0}
    before = again.read_bytes()
    for taken in (again, out):
        assert cli.run(["replay", str(out), "-o", str(taken)]) == 2
        assert "replay overwrites nothing" in capsys.readouterr().err
    assert again.read_bytes() == before


def test_a_difference_is_measured_and_explained(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = made()
    recorded = reading.read_passport(out)
    assert recorded is not None
    with Image.open(out) as image:
        image.load()
    for step, verdict in [
        (1, "identical up to rounding: 1 step of 255 at most"),
        (90, "NOT identical: up to"),
    ]:
        pixels = np.asarray(image).copy()
        pixels[5, 5] = np.where(pixels[5, 5] >= 128, pixels[5, 5] - step, pixels[5, 5] + step)
        writing.save(
            Image.fromarray(pixels), out, {**recorded, "versions": {**recorded["versions"], "torch": "1.0"}}
        )
        assert cli.run(["replay", str(out)]) == 0
        said = capsys.readouterr().err
        assert verdict in said
        assert ("changed since: torch: '1.0' then" in said) == (step > 1)
    assert "90 steps of 255, in less than 0.1 % of the pixels" in said


# Refusals ------------------------------------------------------------------------------------------------


def test_another_input(made: Run, png: Path, circle: Image.Image, tmp_path: Path, refused: Refused) -> None:  # noqa: F811
    out = made()
    circle.rotate(180).save(tmp_path / "other.png")
    message = refused("replay", out, "--input", tmp_path / "other.png")
    assert "other.png: not the input that" in message
    assert "name the right one with --input" in message
    circle.save(png, compress_level=0)  # the same pixels in another file
    assert "not the input that" in refused("replay", out)
    png.rename(tmp_path / "moved.png")
    assert "its input, 'circle.png', is not next to it; name it with --input" in refused("replay", out)


def test_another_model(
    made: Run, model: scumble.Prior, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = made()
    card = model.card
    monkeypatch.setattr(type(model), "card", property(lambda _: replace(card, hash="f" * 64)))
    assert cli.run(["replay", str(out)]) == 2
    message = capsys.readouterr().err
    assert card.hash in message
    assert "f" * 64 in message
    assert cli.run(["replay", str(out), "--force"]) == 0


def test_a_model_that_is_not_there(
    made: Run,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,  # noqa: F811
) -> None:
    out = made()

    def missing(asked: Loading) -> scumble.Prior:
        raise InputError(f"model '{asked.model}': there is no such built-in model, folder or hub id.")

    monkeypatch.setattr(loading, "load", missing)
    assert "if it is on this machine, name it with --model" in refused("replay", out)
    assert "--model" not in refused("replay", out, "--model", "other")


def test_no_passport(made: Run, png: Path, tmp_path: Path, refused: Refused) -> None:  # noqa: F811
    assert "it does not say how it was made" in refused("replay", made("--no-metadata"))
    assert "it does not say how it was made" in refused("replay", png)
    assert "no such file" in refused("replay", tmp_path / "none.png")


def test_a_later_version(made: Run, refused: Refused) -> None:  # noqa: F811
    out = rewritten(made(), scumble="99.0.1")
    assert "made by scumble 99.0.1, and this is" in refused("replay", out)
    assert cli.run(["replay", str(out), "--force"]) == 0


def test_a_changed_result(made: Run, refused: Refused) -> None:  # noqa: F811
    out = made()
    recorded = reading.read_passport(out)
    writing.save(Image.open(out).resize((48, 32)), out, recorded)
    assert "its size is not the input's" in refused("replay", out)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": None}, {"settings": []}, {"settings": {"steps": 2}}, {"settings": {"steps": {}}}, {"seed": "1"},
        {"source": 3}, {"model": {}}, {"model": "scenes"}, {"input": None}, {"mask": []}, {"force": "yes"},
        {"input": {"name": "circle.png", "sha256": 5}}, {"keep": {}}, {"size": "big"}, {"scumble": None},
        {"mask": {"name": "a", "sha256": None}}, {"layer": None}, {"layer": {"changed": "all"}}, {"seconds": []},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_passports(changes: dict[str, Any], made: Run, refused: Refused) -> None:  # noqa: F811
    assert "its passport is damaged" in refused("replay", rewritten(made(), **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"stepps": {"value": 2}}}, "dds has no parameter 'stepps'"),
        ({"settings": {"steps": {"value": 0}}}, "steps: 0 must be at least 1"),
        ({"settings": {"steps": {"value": [2]}}}, "is not a whole number"),
        ({"method": "nonsense"}, "nonsense"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": True}, "seed: True"),
        ({"keep": "some"}, "keep: 'some'"),
        ({"size": 10**9}, "size: 1000000000"),
        ({"target": None}, "target: empty"),
    ],
    ids=str,
)
def test_passports_that_ask_what_cannot_be(
    changes: dict[str, Any],
    message: str,
    made: Run,
    refused: Refused,  # noqa: F811
) -> None:
    assert message in refused("replay", rewritten(made(), **changes))


def test_a_file_runs_only_if_it_is_named(made: Run, tmp_path: Path, refused: Refused) -> None:  # noqa: F811
    code = tmp_path / "mine.py"
    code.write_text("from scumble import DDS\n\nclass Mine(DDS):\n    pass\n")
    out = made("--method", f"{code}:Mine")
    assert "a file runs only if you name it: --method FILE.py:Mine" in refused("replay", out)
    assert cli.run(["replay", str(out), "--method", f"{code}:Mine"]) == 0
    assert "leave it out" in refused("replay", made(out="plain.png"), "--method", f"{code}:Mine")


def test_what_was_prepared_before(made: Run, png: Path, refused: Refused) -> None:  # noqa: F811
    inversions = [png.with_name("a.inv"), png.with_name("b.inv")]
    for path, steps in zip(inversions, "23", strict=True):
        line = ["invert", str(png), "--source", "a red circle", "--method", "ddim_inversion", "-o", str(path)]
        assert cli.run([*line, "--set", f"steps={steps}", "--quiet"]) == 0
    flags = ["--method", "ddim_inversion", "--given", f"inversion={inversions[0]}"]
    out = made(*flags)
    assert cli.run(["replay", str(out), *flags[2:], "--quiet"]) == 0
    assert "its inversion was prepared in advance" in refused("replay", out)
    assert "not the one that" in refused("replay", out, "--given", f"inversion={inversions[1]}")
    assert "was made without" in refused("replay", made(out="plain.png"), *flags[2:])


def test_names_in_passports_are_no_paths(tmp_path: Path) -> None:
    (tmp_path / "secret.png").touch()
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ["../../../secret.png", str(tmp_path / "x/secret.png"), "..", "", "a\x00b"]:
        with pytest.raises(InputError, match="is not next to it"):
            replay.find({"name": name}, "input", tmp_path / "a/b/out.png")
    assert replay.find({"name": "../secret.png"}, "input", tmp_path / "a/out.png") == tmp_path / "secret.png"


def test_an_edits_own_passport_passes_the_check(made: Run) -> None:
    recorded = reading.read_passport(made())
    assert recorded is not None
    passport.check(recorded, "out.png")
    assert not passport.differences(recorded, recorded)


def test_a_field_that_is_gone_replays_where_it_did_nothing(made: Run, refused: Refused) -> None:  # noqa: F811
    out = made("--method", "dds_fast")
    recorded = reading.read_passport(out)
    assert recorded is not None
    for norm in (0.0, 0.1):
        settings = {**recorded["settings"], "norm": {"value": norm, "from": "method"}}
        left = passport.recipe_of({**recorded, "settings": settings}).settings
        assert left.get("norm") == (norm or None)
    rewritten(out, settings=settings)
    assert "dds_fast has no parameter 'norm'" in refused("replay", out)


@pytest.mark.parametrize("recommended", [{}, {"dds_fast": {"cross_trajectory": 2}}])
def test_a_field_that_is_younger_than_the_picture_has_its_default(
    recommended: dict[str, dict[str, object]],
    made: Run,
    model: scumble.Prior,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = made("--method", "dds_fast")
    recorded = reading.read_passport(out)
    assert recorded is not None
    assert recorded["settings"]["cross_trajectory"]["from"] == "method"
    older = {k: v for k, v in recorded["settings"].items() if k != "cross_trajectory"}
    rewritten(out, settings=older)
    assert not passport.differences(recorded, {**recorded, "settings": older})
    other = {**recorded["settings"], "cross_trajectory": {"value": 2, "from": "user"}}
    assert passport.differences({**recorded, "settings": other}, {**recorded, "settings": older})
    card = replace(model.card, recommended=recommended)
    monkeypatch.setattr(type(model), "card", property(lambda _: card))
    assert cli.run(["replay", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["equal"] is True
    assert report["not_as_it_was"] == []


def test_a_field_that_was_renamed_replays_from_its_old_name(
    made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out = made("--method", "dds_fast", "--set", "cross_trajectory=2")
    recorded = reading.read_passport(out)
    assert recorded is not None
    settings = {{"cross_trajectory": "trajectory"}.get(k, k): v for k, v in recorded["settings"].items()}
    rewritten(out, settings=settings)
    assert passport.recipe_of({**recorded, "settings": settings}).settings["cross_trajectory"] == 2
    assert not passport.differences(recorded, {**recorded, "settings": settings})
    capsys.readouterr()
    assert cli.run(["replay", str(out)]) == 0
    assert "identical in every pixel" in capsys.readouterr().err


@pytest.mark.slow
def test_the_examples_of_the_help(png: Path, made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(png.parent)
    made()
    shutil.copy(png, "in.png")
    assert cli.run(["sweep", "in.png", *WORDS, "--over", "guidance=3", "--quiet"]) == 0
    for example in EXAMPLES:
        assert cli.run(shlex.split(example)[1:]) == 0
    assert Path("again.png").exists()
