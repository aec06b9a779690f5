"""`scumble train direction`: files that edits take, stops that cost nothing, and what is refused."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from scumble import artifacts, cli
from scumble.artifacts.h_space import Attribute, HSpaceDirection
from scumble.artifacts.tuned import TunedWeights
from scumble.tuning.training import Walk
from tests.networks.test_pretrained import folder as clip  # noqa: F401
from tests.priors.conftest import pristine  # noqa: F401

WORDS = "a picture by day", "a picture at night"
SHORT = {
    "asyrp": ["--set", "steps=4", "--set", "inversion_steps=3"],
    "diffusionclip": ["--set", "steps=2", "--set", "inversion_steps=3", "--set", "epochs=2"],
}


@pytest.fixture
def line(clip: Path, pristine: Path, tmp_path: Path) -> Callable[..., list[str]]:  # noqa: F811
    """The words of a command that trains on two pictures."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(2):
        Image.new("RGB", (24, 20), (90 + 60 * i, 120, 60)).save(pictures / f"{i}.png")

    def words(method: str, out: Path, *more: object) -> list[str]:
        said = ["train", "direction", *WORDS, "--method", method, "--clip", clip, "--model", pristine]
        said += ["--device", "cpu", "--pictures", pictures, "-o", out, *SHORT[method], *more]
        return [str(word) for word in said]

    return words


def edit(model: Path, method: str, given: str, out: Path, picture: Path, *more: str) -> int:
    line = ["edit", picture, "--model", model, "--device", "cpu", "--method", method, "--given", given]
    return cli.run([*map(str, line), "--steps", "4", "--set", "inversion_steps=3", *more, "-o", str(out)])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name", "kind"), [
    ("asyrp", "direction", HSpaceDirection), ("diffusionclip", "tuned", TunedWeights),
])  # fmt: skip
def test_a_direction_is_trained_and_used(
    method: str,
    name: str,
    kind: type[Any],
    line: Callable[..., list[str]],
    pristine: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, picture = tmp_path / "night.safetensors", tmp_path / "pictures/0.png"
    assert cli.run(line(method, out)) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out)
    assert f"--given {name}={out}" in printed.err
    made = artifacts.load(out)
    assert isinstance(made, kind)
    assert [path.name for path in tmp_path.glob("*resume*")] == []
    results = [tmp_path / "plain.png", tmp_path / "edited.png", tmp_path / "again.png"]
    for result, strength in zip(results, ("0", "3", "3"), strict=True):
        assert edit(pristine, method, f"{name}={out}", result, picture, "--strength", strength) == 0
    plain, edited, again = (Image.open(result).tobytes() for result in results)
    assert plain != edited == again
    capsys.readouterr()
    replay = ["replay", results[1], "--model", pristine, "--given", f"{name}={out}", "--input", picture]
    assert cli.run([str(word) for word in replay]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["asyrp", "diffusionclip"])
def test_ctrl_c_costs_nothing(
    method: str,
    line: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    whole, out = tmp_path / "whole.safetensors", tmp_path / "night.safetensors"
    assert cli.run(line(method, whole)) == 0
    advance, calls = Walk.advance, list[int]()

    def interrupted(self: Walk) -> Any:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(self)

    with monkeypatch.context() as patched:
        patched.setattr(Walk, "advance", interrupted)
        assert cli.run(line(method, out)) == 130
    assert len(calls) == 2
    assert not out.exists()
    assert "the same command goes on" in capsys.readouterr().err
    assert cli.run(line(method, out, "--set", "rate=0.1")) == 2
    assert "the state of a training with another rate" in capsys.readouterr().err
    assert cli.run(line(method, out)) == 0
    one, other = (artifacts.load(path).tensors() for path in (whole, out))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_what_cannot_be_trained_is_refused(
    line: Callable[..., list[str]],
    clip: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, taken, none = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "none"
    taken.touch()
    none.mkdir()
    good = line("asyrp", out)
    bare = ["train", "direction", *WORDS]
    lines = {
        "clip: missing; name the folder": [*bare, "-o", str(out)],
        "target: empty": ["train", "direction", "a", " ", "--clip", str(clip)],
        "must end in .safetensors": line("asyrp", tmp_path / "night.tuned"),
        "exists already; --overwrite": line("asyrp", taken),
        "dds is not trained; these are": [*bare, "--clip", str(clip), "--method", "dds"],
        "training has no parameter 'step' (did you mean 'steps'?)": [*good, "--set", "step=2"],
        "no step from 999 down is at or above": [*good, "--set", "edit_until=1000"],
        "no such folder; name one with": [*good, "--pictures", str(tmp_path / "absent")],
        "no pictures there": [*good, "--pictures", str(none)],
        "no config.json there": [*good, "--clip", str(none)],
        "too coarse for the small steps": line("diffusionclip", out, "--dtype", "bfloat16"),
        "are quantised or offloaded": line("diffusionclip", out, "--memory", "offload"),
    }
    for says, words in lines.items():
        assert cli.run(words) == 2, says
        assert says in capsys.readouterr().err
        assert not out.exists()
    without = [word for word in good if word not in ("--pictures", str(tmp_path / "pictures"))]
    assert cli.run(without) == 2
    assert "only for the built-in model are they drawn" in capsys.readouterr().err
    damaged = tmp_path / "a.safetensors.resume.pt"
    damaged.write_bytes(b"no state")
    assert cli.run(good) == 2
    assert "delete it to begin anew" in capsys.readouterr().err


def test_directions_that_cannot_be_given_are_refused(
    pristine: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.conformance.trained import delta

    picture, file = tmp_path / "in.png", tmp_path / "night.safetensors"
    Image.new("RGB", (16, 16)).save(picture)
    one = Attribute(source="a", target="b", steps=4, weights=delta(32).state_dict())
    artifacts.save(HSpaceDirection(prior="other", prior_hash="0" * 16, attributes=(one,)), file)
    for given, says in {
        f"direction={file}": "direction: trained on model 'other'",
        f"direction={file}:x": "the weight is not a number",
        f"direction={tmp_path / 'none.safetensors'}": "no such file",
        f"tuned={file}": "the file holds a direction, not a tuned",
    }.items():
        assert edit(pristine, "asyrp", given, tmp_path / "out.png", picture) == 2
        assert says in capsys.readouterr().err
    tuned = TunedWeights(prior="other", prior_hash="0" * 16, values={"x": torch.zeros(1)})
    artifacts.save(tuned, file.with_suffix(".tuned"))
    assert (
        edit(pristine, "diffusionclip", f"tuned={file.with_suffix('.tuned')}", tmp_path / "out.png", picture)
        == 2
    )
    assert "tuned: tuned from model 'other'" in capsys.readouterr().err


def test_trained_directions_survive_their_files(tmp_path: Path) -> None:
    from tests.conformance.trained import delta

    weights = {name: value.clone() for name, value in delta(8).state_dict().items()}
    one = Attribute(source="a", target="b", steps=4, weights=weights, recipe={"x": [1]})
    direction = HSpaceDirection(prior="p", prior_hash="0" * 16, attributes=(one,))
    artifacts.save(direction, tmp_path / "d.safetensors")
    read = artifacts.given("direction", f"{tmp_path / 'd.safetensors'}:0.5,{tmp_path / 'd.safetensors'}:-2")
    assert isinstance(read, HSpaceDirection)
    assert [each.weight for each in read.attributes] == [0.5, -2]
    assert all(torch.equal(value, read.attributes[0].weights[name]) for name, value in weights.items())
    assert json.loads(json.dumps(read.about()))["attributes"][0]["recipe"] == {"x": [1]}
    shutil.copy(tmp_path / "d.safetensors", tmp_path / "e.safetensors")
    assert artifacts.digest(artifacts.load(tmp_path / "e.safetensors")) == artifacts.digest(direction)


def test_pictures_are_found_whatever_the_case_of_their_endings(tmp_path: Path) -> None:
    from scumble.cli import direction

    for name in ("b.PNG", "a.JPG", "c.webp", "d.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in direction._files(tmp_path)] == ["a.JPG", "b.PNG", "c.webp"]
