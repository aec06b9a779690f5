"""What other programs hand over: pictures in memory, numbers of numpy, words that are none; names that are taken."""

import io
import os
import stat
import subprocess
import sys
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scumble import InputError
from scumble.cli import values
from scumble.core.atomic import Taken, atomic, claimed
from scumble.core.prior import Card
from scumble.editing import results
from scumble.editing.checks import DomainWarning, check_words
from scumble.editing.recipe import Recipe
from scumble.pictures import reading, writing

# Pictures in memory --------------------------------------------------------------------------------------


def test_pictures_of_all_kinds_in_memory(circle: Image.Image, tmp_path: Path) -> None:
    levels = np.asarray(circle)
    unit = levels / 255
    circle.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    first = torch.from_numpy(levels.copy()).movedim(-1, 0)
    with (tmp_path / "a.png").open("rb") as file:
        handed = [
            data, bytearray(data), io.BytesIO(data), file, unit, unit.astype(np.float32), unit * 2 - 1,
            np.moveaxis(levels, -1, 0), levels[None], first, first / 255, first / 127.5 - 1, (first / 255)[None],
            (first / 255).movedim(0, -1)[None],
        ]  # fmt: skip
        for source in handed:
            assert np.array_equal(np.asarray(reading.read(source).rgb), levels)  # type: ignore[arg-type]


def test_masks_in_memory() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:6] = True
    for source in (mask, torch.from_numpy(mask), mask.astype(np.float32)):
        assert np.array_equal(np.asarray(reading.read_mask(source, (8, 8)).values), mask * 255)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "None is no picture; give a path"),
        ([1], "a list is no picture"),
        (7, "a int is no picture"),
        (b"", "the file is empty"),
        (b"x", "not a PNG"),
        (io.StringIO("x"), "open as text"),
        (np.full((4, 4, 3), 200.0), "floats must be in"),
        (np.full((4, 4), np.nan), "floats must be in"),
        (np.zeros((4, 4, 3), np.int64), "an array must be uint8, bool or float"),
        (torch.zeros(2, 3, 4, 4), "an array must be uint8, bool or float"),
        ("a\0.png", "no such file"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(source: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reading.read(source)  # type: ignore[arg-type]


def test_closed_files_and_broken_pil_images(circle: Image.Image) -> None:
    stream = io.BytesIO()
    circle.save(stream, "PNG")
    broken = Image.open(io.BytesIO(stream.getvalue()[:-60]))
    with pytest.raises(InputError, match="broken or truncated"):
        reading.read(broken)
    stream.close()
    with pytest.raises(InputError, match="open for reading"):
        reading.read(stream)


def test_values_of_other_programs() -> None:
    handed = {"seed": np.uint64(2**64 - 1), "size": np.int32(64), "negative": None, "settings": None}
    recipe = Recipe("a", keep=np.float32(0.5), **handed)  # type: ignore[arg-type]
    assert (recipe.seed, recipe.size, recipe.negative, recipe.settings) == (2**64 - 1, 64, "", {})
    assert type(recipe.seed) is type(recipe.size) is int
    assert recipe.keep == 0.5
    assert values.seeds([str(2**64 - 1)]) == [2**64 - 1]
    for wrong in ({"target": ["a"]}, {"source": 3}, {"seed": True}, {"seed": 2**64}, {"seed": 1.0},
                  {"settings": [1]}, {"method": dict}, {"size": "64"}):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(wrong))):
            Recipe("a", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["\U0001f408", "...", "a \U0001f431", "?!"])
def test_prompts_without_known_words(prompt: str) -> None:
    card = Card(id="c", hash="0", domain="It knows a.", words=frozenset("a"), size=64, multiple=8)
    check_words(card, ["a, a.", '"a"!'], force=False)
    with pytest.raises(InputError, match="does not know"):
        check_words(card, [prompt], force=False)


@pytest.mark.parametrize("prompt", ["\U0001f408", "?!", " \u2014 "])
def test_prompts_without_any_word_are_doubted(prompt: str) -> None:
    card = Card(id="c", hash="0", domain="Anything.", words=None, size=64, multiple=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_words(card, ["a cat \U0001f408!", "\u732b", ""], force=False)
    with pytest.warns(DomainWarning, match="it has no words"):
        check_words(card, [prompt], force=False)


# Names ---------------------------------------------------------------------------------------------------


def test_default_names_are_claimed(tmp_path: Path) -> None:
    with ExitStack() as one, ExitStack() as two:
        assert results.default(tmp_path / "in.png", "dds", claims=one).name == "in.dds.png"
        assert results.default(tmp_path / "in.png", "dds", claims=two).name == "in.dds-2.png"
        with pytest.raises(Taken, match="another run is writing this now"), claimed(tmp_path / "in.dds.png"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_runs_claim_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    (tmp_path / ".a.png.claim").write_text(gone.stdout.strip())
    with claimed(tmp_path / "a.png"):
        assert (tmp_path / ".a.png.claim").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_threads_that_write_one_name_lose_nothing(circle: Image.Image, tmp_path: Path) -> None:
    names: list[Path] = []

    def write() -> None:
        names.append(results.kept(tmp_path / "a.png", lambda free: writing.save(circle, free, replace=False)))

    def together() -> None:
        threads = [threading.Thread(target=write) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with pytest.warns(UserWarning, match="another program has made such a file meanwhile"):
        together()
    assert sorted(tmp_path.iterdir()) == sorted(names)
    assert len(set(names)) == 6


def test_what_is_replaced_keeps_its_mode_and_its_link(circle: Image.Image, tmp_path: Path) -> None:
    target, link = tmp_path / "real.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    writing.save(circle, link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert reading.read(target).size == circle.size
    with pytest.raises(FileExistsError), atomic(target, replace=False) as part:
        part.write_bytes(b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.png", "real.png"]


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_a_passport_never_costs_the_picture(suffix: str, circle: Image.Image, tmp_path: Path) -> None:
    path, passport = tmp_path / f"a{suffix}", {"target": "x" * 1_000_000}
    with pytest.raises(InputError, match="too long to be written into"):
        writing.check_passport(passport, path)
    with pytest.warns(UserWarning, match="saved without its passport"):
        writing.save(circle, path, passport)
    assert reading.read(path).size == circle.size
    longest = {"target": "x" * (64_900 if suffix == ".jpg" else 800_000)}
    writing.check_passport(longest, path)
    writing.save(circle, path, longest)
    assert reading.read_passport(path) == longest
