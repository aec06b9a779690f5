"""Generated bad inputs in files and words: each ends in an InputError or a picture, never in a traceback or a file.

A fifth of them by default, the same in every run. SCUMBLE_HOSTILE=1 makes all, here and in test_hostile_hosts.py:
more than 4,000.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import scumble
from scumble import InputError, cli
from scumble.cli import values
from scumble.core.prior import Card
from scumble.editing import results
from scumble.editing.checks import check_settings, check_words
from scumble.editing.recipe import Recipe
from scumble.editing.telling import concerns_all
from scumble.methods import METHODS, get
from scumble.pictures import reading
from tests.priors.conftest import pristine  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's about broken metadata
MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F",
         "I;16", "I;16L", "I;16B", "I;16N"]  # fmt: skip


def examples(count: int) -> Any:
    """The same inputs in every run, and none is remembered on the disk; `count` of them, or a fifth."""
    if not os.environ.get("SCUMBLE_HOSTILE"):
        count //= 5
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new, empty folder."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def refused(*arguments: str | Path) -> str:
    """The line that a command line is refused with; code 2, nothing on stdout, nothing else on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([str(a) for a in arguments])
    lines = [line for line in err.getvalue().splitlines() if not line.startswith(("warning: ", "target: "))]
    assert code == 2, err.getvalue()
    assert len(lines) == 1, err.getvalue()
    assert lines[0].startswith("scumble: ")
    assert out.getvalue() == ""
    return lines[0]


# Pictures ------------------------------------------------------------------------------------------------


def encoded(kind: str, mode: str) -> bytes:
    """A small picture with a profile, EXIF and a comment in a file of some kind."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112], exif[0x8825] = 6, {1: "N", 2: (1.0, 2.0, 3.0)}
    Image.linear_gradient("L").resize((24, 17)).convert(mode).save(
        stream, kind, exif=exif, comment=b"secret", icc_profile=bytes(range(128)) * 2
    )
    return stream.getvalue()


WHOLE = [encoded(*pair) for pair in [("PNG", "RGB"), ("PNG", "P"), ("PNG", "LA"), ("JPEG", "RGB"),
                                     ("JPEG", "CMYK"), ("WEBP", "RGB")]]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A picture file with bytes flipped, cut off, doubled, or spliced into another one."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    place = st.integers(0, len(data) - 1)
    for at in draw(st.lists(place, max_size=8)):
        data[at] ^= draw(st.integers(1, 255))
    start, end = sorted((draw(place), draw(place)))
    how = draw(st.sampled_from(["flip", "flip", "cut", "drop", "double", "splice", "noise"]))
    whole = {
        "flip": data,
        "cut": data[:end],
        "drop": data[:start] + data[end:],
        "double": data[:end] + data[start:],
        "splice": data[:start] + draw(st.sampled_from(WHOLE))[start:],
        "noise": data[:start] + bytearray(draw(st.binary(max_size=40))) + data[start:],
    }
    return bytes(whole[how])


@pytest.mark.slow
@examples(600)
@given(data=broken())
def test_broken_pictures(data: bytes) -> None:
    with folder() as here:
        picture = here / "in.png"
        picture.write_bytes(data)
        with contextlib.suppress(InputError):
            read = reading.read(picture)
            assert read.rgb.mode == "RGB"
            assert read.alpha is None or read.alpha.size == read.size
        with contextlib.suppress(InputError):
            assert isinstance(reading.read_passport(picture), dict | None)


@pytest.mark.slow
@examples(100)
@given(data=broken())
def test_broken_pictures_on_the_command_line(data: bytes) -> None:
    with folder() as here:
        picture = here / "in.png"
        picture.write_bytes(data)
        refused("edit", picture, "--source", "a", "--target", "b", "--model", "./none")
        assert [p.name for p in here.iterdir()] == ["in.png"]


@examples(150)
@given(mode=st.sampled_from(MODES), size=st.tuples(st.integers(0, 70), st.integers(0, 70)))
def test_modes_and_sizes(mode: str, size: tuple[int, int]) -> None:
    with contextlib.suppress(InputError):
        picture = reading.read(Image.new(mode, size))
        assert picture.rgb.mode == "RGB"
        assert picture.size == size


@examples(150)
@given(
    shape=st.lists(st.integers(0, 9), max_size=5),
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int64", "float32", "bool", "complex64", "U3", "O"]),
)
def test_arrays(shape: list[int], dtype: str) -> None:
    with contextlib.suppress(InputError):
        picture = reading.read(np.zeros(shape, dtype))
        one = shape[1:] if len(shape) == 4 else shape
        h, w = one[:2] if len(one) == 2 or one[2] in (1, 3, 4) else one[1:]
        assert picture.size == (w, h)


# Words and values ----------------------------------------------------------------------------------------


@pytest.mark.slow
@examples(300)
@given(source=st.text(max_size=40), target=st.text(max_size=40), change=st.text(max_size=20))
def test_prompts_in_any_script(source: str, target: str, change: str) -> None:
    card = Card(id="c", hash="0", domain="It knows a.", words=frozenset("a"), size=64, multiple=8)
    with contextlib.suppress(InputError):
        check_words(card, [source, target], force=False)
    with contextlib.suppress(InputError):
        assert len(values.targets(source, [], [change])) == 1
    made = results.names([source, target, target.upper()], [0, 5])
    assert len(set(made)) == 6
    assert all(Path(name).name == name and len(name.encode()) < 255 for name in made)
    concerns_all(source, target)


@pytest.mark.slow
@examples(50)
@given(source=st.text(max_size=40), target=st.text(max_size=40), change=st.text(max_size=20))
def test_prompts_on_the_command_line(source: str, target: str, change: str) -> None:
    with folder() as here:
        picture = here / "in.png"
        picture.write_bytes(WHOLE[0])
        refused("edit", picture, "--source", source, "--target", target, "--model", "./none")
        refused("edit", picture, "--source", source, "--change", change, "--model", "./none")
        assert [p.name for p in here.iterdir()] == ["in.png"]


VALUES = (
    st.text(max_size=12)
    | st.integers().map(str)
    | st.integers(10**300, 10**400).map(hex)
    | st.floats().map(str)
    | st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                   lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.sets(st.integers())).map(repr)
    | st.sampled_from(["1e400", "-0", "1j", "1_0", "(" * 300, "[" * 100 + "]" * 100, "9" * 5000, "0x", "'", "\\"])
)  # fmt: skip


@examples(400)
@given(
    name=st.sampled_from(sorted(METHODS)),
    field=st.text(max_size=8) | st.sampled_from(["steps", "guidance", "rate", "strength", "variance"]),
    text=VALUES,
)
def test_settings(name: str, field: str, text: str) -> None:
    with contextlib.suppress(InputError):
        check_settings(name, get(name), values.settings([f"{field}={text}"]))


@examples(200)
@given(keep=VALUES, seed=VALUES, size=st.integers() | st.floats(), form=st.text(max_size=5))
def test_recipes(keep: str, seed: str, size: float, form: str) -> None:
    with contextlib.suppress(InputError):
        Recipe("in.png", keep=values.keep(keep), size=size, form=form)  # type: ignore[arg-type]
    with contextlib.suppress(InputError):
        assert all(number >= 0 for number in values.seeds([seed]))
    values.listed([keep, seed])


# Checkpoints ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 300) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@pytest.mark.slow
@examples(100)
@given(data=st.data())
def test_broken_checkpoints(data: st.DataObject, pristine: Path) -> None:  # noqa: F811
    with folder() as here:
        model = Path(shutil.copytree(pristine, here / "model"))
        file = data.draw(st.sampled_from(sorted(p for p in model.rglob("*") if p.is_file())), label="file")
        how = data.draw(
            st.sampled_from(["remove", "cut", "flip", "value", "value", "value", "card"]), label="how"
        )
        if how == "remove":
            file.unlink()
        elif how == "cut":
            file.write_bytes(file.read_bytes()[: data.draw(st.integers(0, 300))])
        elif how == "flip":
            raw = bytearray(file.read_bytes())
            for at in data.draw(st.lists(st.integers(0, min(len(raw), 4000) - 1), min_size=1, max_size=5)):
                raw[at] ^= data.draw(st.integers(1, 255))
            file.write_bytes(raw)
        elif how == "card":
            keys = st.sampled_from(
                ["words", "size", "multiple", "recommended", "capabilities", "domain", "x"]
            )
            (model / "card.json").write_text(json.dumps(data.draw(st.dictionaries(keys, JSON) | JSON)))
        else:
            config = data.draw(st.sampled_from(sorted(model.rglob("*config.json"))), label="config")
            values = json.loads(config.read_text())
            values[data.draw(st.sampled_from(sorted(values)), label="key")] = data.draw(JSON, label="value")
            config.write_text(json.dumps(values))
        with contextlib.suppress(InputError):
            scumble.load(model, device="cpu")
