"""The contract of the command line: where results go, what is said where, what an exit code means."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from PIL import Image, ImageCms

from scumble import cli
from scumble.cli import values
from scumble.core import machine
from scumble.editing import results
from scumble.editing.recipe import Recipe
from scumble.editing.telling import advice
from scumble.pictures import reading
from tests.priors.conftest import pristine  # noqa: F401

WORDS = ["--source", "a red circle", "--target", "a blue circle"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    png: Path,
    pristine: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """run(flags...): edit circle.png in the current folder in two steps; the code, stdout and stderr."""
    monkeypatch.chdir(png.parent)
    monkeypatch.setenv("SCUMBLE_MODEL", str(pristine))

    def edit(*flags: object, words: list[str] = WORDS, steps: object = 2) -> tuple[int, str, str]:
        line = ["edit", png.name, *words, "--steps", str(steps), *map(str, flags)]
        code = cli.run(line)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return edit


def here() -> set[str]:
    return {path.name for path in Path().iterdir()}


# Results -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_results_are_numbered_and_nothing_is_overwritten(run: Run) -> None:
    assert [run()[1] for _ in range(3)] == ["circle.dds.png\n", "circle.dds-2.png\n", "circle.dds-3.png\n"]
    before = Path("circle.dds.png").read_bytes()
    code, out, err = run("-o", "circle.dds.png")
    assert (code, out) == (2, "")
    assert "this file exists already" in err
    assert "--overwrite" in err
    assert Path("circle.dds.png").read_bytes() == before
    assert run("-o", "circle.dds.png", "--overwrite", "--seed", 3)[0] == 0
    assert Path("circle.dds.png").read_bytes() != before
    code, _, err = run("-o", "circle.png", "--overwrite")
    assert code == 2
    assert "overwrite the input" in err


@pytest.mark.slow
def test_what_stands_beside_a_result(run: Run) -> None:
    code, out, _ = run("-o", "out.png", "--save-layer", "--compare", "--film", "--keep", "none")
    assert code == 0
    assert out.split() == ["out.png", "out.layer.png", "out.compare.png", "out.film.gif"]
    layer, whole, result = (Image.open(name) for name in ("out.layer.png", "circle.png", "out.png"))
    assert (layer.mode, layer.size) == ("RGBA", whole.size)
    over = Image.alpha_composite(whole.convert("RGBA"), layer).convert("RGB")
    assert over.tobytes() == result.tobytes()
    assert Image.open("out.film.gif").n_frames == 3  # type: ignore[attr-defined]
    code, _, err = run("-o", "other.png", "--film")
    assert code == 0
    Path("other.png").unlink()
    code, _, err = run("-o", "other.png", "--film")
    assert code == 2
    assert "other.film.gif: this file exists already" in err


@pytest.mark.slow
def test_several_targets_and_seeds_go_to_a_folder(run: Run) -> None:
    words = ["--source", "a red circle", "--target", "a blue circle", "--target", "a star!"]
    code, out, err = run("--seed", "0-1", "--seed", 7, words=words)
    assert code == 0
    names = [f"{what}.seed-{seed}.png" for what in ("a-blue-circle", "a-star") for seed in (0, 1, 7)]
    assert [Path(line) for line in out.split()] == [Path("circle.dds", n) for n in [*names, "sheet.png"]]
    assert all(Path(line).is_file() for line in out.split())
    assert err.count("changed, seed 7") == 2
    passport = reading.read_passport(Path("circle.dds/a-star.seed-7.png"))
    assert passport is not None
    assert (passport["target"], passport["seed"]) == ("a star!", 7)
    one = run("--seed", 7, "-o", "one.png", words=["--source", "a red circle", "--target", "a star!"])
    assert one[0] == 0
    assert Image.open("one.png").tobytes() == Image.open("circle.dds/a-star.seed-7.png").tobytes()
    code, _, err = run("--seed", "0-1", "-o", "circle.dds", words=words)
    assert code == 2
    assert "this file exists already" in err
    code, _, err = run("--seed", "0-1", "-o", "circle.png", words=words)
    assert code == 2
    assert "cannot be made" in err
    code, _, err = run("--seed", "0-1", "-o", "new.png", words=words)
    assert code == 2
    assert "new.png: several results go to a folder" in err


def test_names_say_what_sets_results_apart() -> None:
    assert results.names(["A blue mug!"], [0]) == ["a-blue-mug.png"]
    assert results.names(["a mug", "a  mug", "ein Krug"], [0]) == ["a-mug.png", "a-mug-2.png", "ein-krug.png"]
    assert results.names(["¡?", "青い"], [1, 2]) == [
        "edit.seed-1.png", "edit.seed-2.png", "青い.seed-1.png", "青い.seed-2.png",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_places_and_comments_are_dropped_and_the_profile_is_kept(suffix: str, run: Run) -> None:
    exif = Image.Exif()
    exif[0x8825], exif[0x010F] = {1: "N", 2: (48.0, 8.0, 14.0)}, "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole = Image.open("circle.png")
    whole.save("circle.png", exif=exif, icc_profile=profile, pnginfo=None)
    whole.save("phone.jpg", exif=exif, icc_profile=profile, comment=b"at home", quality=95)
    Path("phone.jpg").rename("circle.png")  # what a file is, its content says
    mask = Image.new("L", whole.size)
    mask.paste(255, (20, 10, 70, 55))
    mask.save("mask.png")
    code, _, err = run("-o", f"out.{suffix}", "--mask", "mask.png")
    assert code == 0
    assert ("JPEG changes every pixel" in err) == (suffix == "jpg")
    with Image.open(f"out.{suffix}") as out:
        assert out.info["icc_profile"] == profile
        assert not out.getexif().get_ifd(0x8825)
        assert 0x010F not in out.getexif()
    data = Path(f"out.{suffix}").read_bytes()
    assert b"at home" not in data
    assert b"a camera" not in data
    assert reading.read_passport(Path(f"out.{suffix}")) is not None
    assert run("-o", f"bare.{suffix}", "--no-metadata")[0] == 0
    assert reading.read_passport(Path(f"bare.{suffix}")) is None


# What is said, and where ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_stdout_holds_paths_and_stderr_the_rest(run: Run) -> None:
    code, out, err = run(steps=20)
    assert (code, out) == (0, "circle.dds.png\n")
    lines = [line for line in err.splitlines() if line.startswith("dds: ")]
    assert [line.split(",")[0] for line in lines] == [f"dds: {k}/20 steps" for k in range(2, 21, 2)]
    assert "circle.dds.png: " in err
    for part in (
        " s, 80 evaluations of the network, peak memory ",
        " GB, ",
        " of the picture changed, seed 0",
    ):
        assert part in err
    code, out, err = run("--quiet")
    assert (code, out) == (0, "circle.dds-2.png\n")
    assert all(line.startswith("warning: ") for line in err.splitlines())


def test_json(run: Run) -> None:
    code, out, _ = run("--json", "--seed", "0-1", "--compare", "-o", "new")
    assert code == 0
    first, second, sheet = map(json.loads, out.splitlines())
    assert first["file"] == str(Path("new/a-blue-circle.seed-0.png"))
    assert first["beside"] == [str(Path("new/a-blue-circle.seed-0.compare.png"))]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert (first["evaluations"], first["target"]) == (8, "a blue circle")
    assert 0 <= first["changed"] <= 1
    assert first["peak_memory"] > 50e6
    assert first["passport"] == reading.read_passport(Path(first["file"]))
    assert sheet == {"file": str(Path("new/sheet.png")), "beside": []}


def test_a_dry_run_writes_nothing_and_estimates(run: Run) -> None:
    code, out, err = run("--dry-run", "--seed", "0-3", steps=1000)
    assert (code, out) == (0, "")
    assert "dry run: dds on model tiny" in err
    assert "canvas 16x12; 4 edits, 16000 evaluations of the network" in err
    assert "an estimate from 2 of 1000 steps" in err
    code, out, _ = run("--dry-run", "--json", steps=1)
    record = json.loads(out)
    assert (record["evaluations"], record["steps"], record["tried"], record["download"]) == (4, 1, 1, 0)
    assert record["seconds"] >= 0
    assert here() == {"circle.png"}


def test_change_derives_the_target(run: Run) -> None:
    code, _, err = run("--change", "Red=blue", words=["--source", "a red circle"])
    assert code == 0
    assert 'target: "a blue circle"' in err
    code, _, err = run("--change", "mug=cup", words=["--source", "a red circle"])
    assert code == 2
    assert "the word 'mug' is not in the source prompt 'a red circle'" in err
    assert values.derived("a red dot, a reddish dot", ["red=blue"]) == "a blue dot, a reddish dot"
    assert values.derived("red on blue", ["red=blue", "blue=red"]) == "blue on red"
    assert values.derived("a dark red mug", ["red=blue", "dark red=green"]) == "a green mug"
    assert values.derived("a very red mug", ["very="]) == "a red mug"


def test_a_small_mask_is_edited_by_itself(run: Run) -> None:
    mask = Image.new("L", (96, 64))
    mask.paste(255, (30, 20, 42, 32))
    mask.save("mask.png")
    code, _, err = run("--mask", "mask.png", "-o", "out.png")
    assert code == 0
    assert "only the part around the mask is edited, 16x16 pixels from (28, 18)" in err
    passport = reading.read_passport(Path("out.png"))
    assert passport is not None
    assert passport["box"] == [28, 18, 44, 34]
    code, _, err = run("--mask", "mask.png", "--crop", "none", "-o", "whole.png")
    assert code == 0
    assert "only the part" not in err


@pytest.mark.slow
def test_as_lut(run: Run) -> None:
    code, out, _ = run("--as", "lut", "--film", "--save-layer")
    assert (code, len(out.split())) == (0, 3)
    passport = reading.read_passport(Path("circle.dds.png"))
    assert passport is not None
    assert passport["form"] == "lut"
    code, _, err = run("--as", "lut", "--method", "sdedit")
    assert code == 2
    assert "'lut' is for methods that descend, such as dds" in err


def advised(
    changed: float, source: str, target: str, mask: Image.Image | None = None, **manner: object
) -> str:
    placed = SimpleNamespace(
        mask=mask and SimpleNamespace(values=mask), picture=SimpleNamespace(size=(10, 10))
    )
    plan: Any = SimpleNamespace(
        placed=placed, recipe=Recipe("in.png", source=source, target=target, **manner)
    )
    return advice({"changed": changed}, plan) or ""


def test_advice_where_too_little_or_too_much_changed() -> None:
    assert "hardly anything changed" in advised(0.004, "a red mug", "a blue mug")
    assert advised(0.3, "a red mug", "a blue mug") == ""
    assert "nearly everything changed" in advised(0.9, "a red mug", "a blue mug")
    assert "without --keep none" in advised(1.0, "a red mug", "a blue mug", keep="none")
    assert advised(0.9, "a mug on a white background", "a mug on a sky background") == ""
    assert advised(0.9, "a mug", "a watercolour of a mug") == ""
    assert advised(0.9, "a mug by day", "a mug at night") == ""
    assert advised(0.9, "a red mug", "a blue mug", form="lut") == ""


def test_advice_counts_what_the_mask_lets_change() -> None:
    mask = Image.new("L", (10, 10))
    mask.paste(255, (0, 0, 1, 1))
    words = "a red mug", "a blue mug"
    assert advised(0.005, *words, mask) == ""
    assert advised(0.01, *words, mask) == "", "all that is white changed, as it may"
    assert "hardly anything changed" in advised(0.00001, *words, mask)


# The machine ---------------------------------------------------------------------------------------------

GREEDY = '''
from dataclasses import dataclass
import scumble, torch

@dataclass(frozen=True, kw_only=True)
class Greedy(scumble.DDS):
    """Takes more than there is."""
    def __call__(self, prior, request, on_step=None):
        raise {}
'''


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError",
        "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')",
        'RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes")',
    ],
)
def test_out_of_memory_is_3_with_figures(error: str, run: Run) -> None:
    Path("greedy.py").write_text(GREEDY.format(error))
    code, out, err = run("--method", "./greedy.py:Greedy")
    assert (code, out) == (3, "")
    assert "scumble: memory: cpu ran out; at most " in err
    assert " GB are free now; try a smaller --size" in err
    assert here() == {"circle.png", "greedy.py"}


def test_an_error_of_ours_is_no_lack_of_memory(run: Run) -> None:
    Path("greedy.py").write_text(GREEDY.format("RuntimeError('shapes do not match')"))
    code, _, err = run("--method", "./greedy.py:Greedy")
    assert code == 1
    assert "unexpected RuntimeError: shapes do not match" in err
    assert "please report it" in err


def test_peak_and_free_memory() -> None:
    assert 20e6 < machine.peak() < 1e12
    assert machine.free() > 1e6
    kept = bytearray(64_000_000)
    kept[::4096] = b"x" * len(kept[::4096])
    assert machine.peak() >= 64e6


@pytest.mark.slow
def test_the_peak_is_not_that_of_the_process_which_started_this_one() -> None:
    kept = bytearray(400_000_000)
    kept[::4096] = b"x" * len(kept[::4096])
    line = "from scumble.core import machine; print(machine.peak())"
    ran = subprocess.run([sys.executable, "-c", line], capture_output=True, check=True, text=True)
    assert int(ran.stdout) < 400e6


def test_a_full_disk_is_3_and_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Image.Image, path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    code, out, err = run()
    assert (code, out) == (3, "")
    assert "circle.dds.png: it could not be written (No space left on device)" in err
    assert here() == {"circle.png"}


# Examples ------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups aside."""
    from typer.main import get_command

    from scumble.cli.app import app

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield name, command
        for word, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{name} {word}")

    yield from walk(get_command(app), "scumble")


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_help_ends_with_two_examples(name: str, command: Any) -> None:
    head, *lines = command.epilog.split("\n\n")
    assert head == "Examples:"
    assert len(lines) == 2
    for line in lines:
        assert line == name or line.startswith(f"{name} ")
        with contextlib.suppress(typer.Exit):  # --help
            command.make_context(name, shlex.split(line)[len(name.split()) :])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edit", "demo", "methods", "models"])
def test_examples_run(
    name: str,
    png: Path,
    pristine: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(png.parent)
    monkeypatch.setenv("SCUMBLE_MODEL", str(pristine))
    png.rename("in.png")
    for line in dict(commands())[f"scumble {name}"].epilog.split("\n\n")[1:]:
        words = shlex.split(re.sub(r"--steps \d+", "", line))[1:]
        quick = ["--set", "steps=2"] if name in ("edit", "demo") else []
        assert cli.run([*words, *quick]) == 0
        assert capsys.readouterr().out
