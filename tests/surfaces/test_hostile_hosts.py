"""Generated bad inputs from other programs: masks, metadata, Python arguments, states of torch. See test_hostile."""

import contextlib
import io
import struct
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import config
from PIL import Image

import scumble
from scumble import InputError, MachineError
from scumble.core.loading import Loading
from scumble.editing.recipe import Recipe
from scumble.editing.sweep import variants
from scumble.pictures import reading, writing
from scumble.pictures.canvas import Fit, crop_box, finish, mask_to_canvas
from tests.priors.conftest import pristine  # noqa: F401
from tests.surfaces.test_hostile import WHOLE, broken, examples, folder
from tests.surfaces.test_hosts import ABLE, PARTS, edited

pytestmark = pytest.mark.filterwarnings("ignore")
SIZE = 24, 17

# Masks ---------------------------------------------------------------------------------------------------

SHAPES = [(17, 24), (17, 24, 1), (17, 24, 3), (17, 24, 4), (1, 17, 24), (3, 17, 24), (1, 1, 17, 24), (24, 17), (17,),
          (), (0, 24), (2, 17, 24), (17, 24, 2), (16, 24)]  # fmt: skip
LEVELS = [[0], [1], [0, 1], [0, 255], [255], [0, 1, 2, 3], [0, 7, 15], [0.0, 1.0], [-1.0, 1.0], [0.0, 0.5, 1.0],
          [np.nan, 0.0], [np.inf, 1.0], [0, 300], [-5, 5], [1e300, 0.0]]  # fmt: skip


@st.composite
def masks(draw: st.DrawFn) -> Any:
    """What people and programs hand over as a mask of a picture of 24 x 17 pixels."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(all="ignore"):
        values = seed.choice(draw(st.sampled_from(LEVELS)), draw(st.sampled_from(SHAPES)))
        values = values.astype(
            draw(st.sampled_from(["uint8", "bool", "float32", "float64", "int64", "float16"]))
        )
    how = draw(st.sampled_from(["array", "tensor", "mode", "palette", "alpha", "jpeg", "broken"]))
    if how == "array":
        return values
    if how == "tensor":
        return torch.from_numpy(np.asarray(values))
    if how == "broken":
        return draw(broken())
    levels = seed.choice([0, 1, 8, 200, 255], (17, 24), p=seed.dirichlet(np.ones(5))).astype(np.uint8)
    image = Image.fromarray(levels)
    if how == "mode":
        return image.convert("RGB").convert(draw(st.sampled_from(["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV",
                                                                   "I", "F"])))  # fmt: skip
    if how == "palette":
        image = Image.fromarray(levels % 5).convert("P")
        image.putpalette(seed.integers(0, 256, 15).astype(np.uint8).tobytes())
        return image
    if how == "alpha":
        image = Image.fromarray(seed.integers(0, 256, (17, 24, 3)).astype(np.uint8) * draw(st.integers(0, 1)))
        image.putalpha(Image.fromarray(levels))
        return image
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=draw(st.integers(1, 95)))
    return stream.getvalue()


@examples(500)
@given(source=masks())
def test_masks(source: Any) -> None:
    with contextlib.suppress(InputError):
        mask = reading.read_mask(source, SIZE).values
        assert (mask.mode, mask.size) == ("L", SIZE)
        assert mask.getextrema()[1] > 0  # pyright: ignore[reportOperatorIssue]
        crop_box(mask, SIZE, 8)
        opened = mask_to_canvas(mask, Fit.of(SIZE, 16, 8))
        assert 0 <= opened.min() <= opened.max() <= 1


# Metadata ------------------------------------------------------------------------------------------------

CHUNKS = ["tEXt", "zTXt", "iTXt", "iCCP", "eXIf", "gAMA", "cHRM", "cICP", "sRGB", "tRNS", "pHYs", "bKGD", "sBIT",
          "acTL", "fcTL", "tIME", "PLTE", "hIST", "sPLT", "vpAg", "IDAT", "IHDR", "IEND", "iDOT",
          "\xff\xfe12"]  # fmt: skip


@st.composite
def annotated(draw: st.DrawFn) -> bytes:
    """A picture file whose metadata are garbage: chunks of PNG, segments of JPEG."""
    body = draw(st.binary(max_size=60))
    if draw(st.integers(0, 5)) == 0:
        body += bytes(draw(st.sampled_from([1_000, 70_000, 1_100_000])))
    key = draw(
        st.sampled_from([b"", b"Comment\0", b"scumble\0", b"scumble\0\0\0\0\0", b"icc\0\0", b"Exif\0\0II*\0"])
    )
    body = key + (zlib.compress(body, 1) if draw(st.booleans()) else body)
    if draw(st.integers(0, 2)):
        kind = draw(st.sampled_from(CHUNKS)).encode("latin-1")
        crc = zlib.crc32(kind + body) if draw(st.integers(0, 3)) else draw(st.integers(0, 2**32 - 1))
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
        whole = draw(st.sampled_from(WHOLE[:3]))
        at = draw(st.sampled_from([33, whole.index(b"IDAT") - 4, len(whole) - 12, len(whole)]))
        return whole[:at] + chunk + whole[at:]
    body = body[:65_000]
    marker = draw(st.sampled_from([0xE0, 0xE1, 0xE2, 0xEE, 0xED, 0xFE, 0xDB, 0xC4]))
    length = len(body) + draw(st.sampled_from([2, 2, 2, 1, 40]))
    whole = WHOLE[3]
    return whole[:2] + bytes((0xFF, marker)) + struct.pack(">H", length) + body + whole[2:]


@pytest.mark.slow
@examples(500)
@given(data=annotated(), suffix=st.sampled_from([".png", ".webp"]))
def test_metadata(data: bytes, suffix: str) -> None:
    with folder() as here, contextlib.suppress(InputError):
        (here / "in.png").write_bytes(data)
        picture = reading.read(here / "in.png")
        assert isinstance(reading.read_passport(here / "in.png"), dict | None)
        writing.save(finish(picture.rgb, picture), here / f"out{suffix}", {"target": "a"})
        assert reading.read(here / f"out{suffix}").size == picture.size
        assert reading.read_passport(here / f"out{suffix}") == {"target": "a"}
        assert len(list(here.iterdir())) == 2


@pytest.mark.slow
@examples(150)
@given(
    prompt=st.text(max_size=30) | st.text(st.characters(categories=["Cs", "Cc", "So"]), max_size=20),
    times=st.sampled_from([1, 1, 100, 10_000]),
    suffix=st.sampled_from([".png", ".jpg", ".webp"]),
)
def test_prompts_in_passports(prompt: str, times: int, suffix: str) -> None:
    told = {"target": prompt * times}
    with folder() as here:
        path = here / f"a{suffix}"
        with contextlib.suppress(InputError):
            writing.check_passport(told, path)
            writing.save(Image.new("RGB", (8, 8)), path, told)
            assert reading.read_passport(path) == told
        assert len(list(here.iterdir())) <= 1


# Python arguments ----------------------------------------------------------------------------------------


@pytest.fixture
def unchecked(annotations_are_checked: None) -> None:
    """Wrong types arrive, as they do where nobody checks annotations."""
    config.update("jaxtyping_disable", True)


class Unfriendly:
    """An object that answers nothing."""

    def __repr__(self) -> str:
        return "<unfriendly>"


def opened() -> io.BytesIO:
    stream = io.BytesIO(WHOLE[0])
    stream.close()
    return stream


MAKERS: list[Any] = [
    lambda: None, list, dict, tuple, set, object, Unfriendly, opened, lambda: io.StringIO("a"), lambda: True,
    lambda: b"", lambda: b"a", lambda: bytearray(WHOLE[0]), lambda: io.BytesIO(WHOLE[3]), lambda: Unfriendly,
    lambda: ["a"], lambda: ("a", None), lambda: {"a": 1}, lambda: {1: 2}, lambda: {"steps": None}, lambda: [None],
    lambda: {"steps": [1]}, lambda: {"inversion": 5}, lambda: {"direction": "a"}, lambda: {"bank": None},
    lambda: 0, lambda: 1, lambda: -1, lambda: 2**70, lambda: 16, lambda: 0.5, lambda: float("nan"), lambda: 1e400,
    lambda: 1j, lambda: np.float32(0.5), lambda: np.int64(24), lambda: np.str_("a"), lambda: np.bool_(True),
    lambda: np.array(3), lambda: np.array("a"), lambda: np.zeros((3, 0)), lambda: np.zeros((17, 24)),
    lambda: np.zeros((17, 24, 3), np.uint8), lambda: np.array([None]), lambda: torch.zeros(()), lambda: torch.tensor(7),
    lambda: torch.zeros(3, 17, 24), lambda: torch.zeros(1, 4, 8, 8), lambda: torch.zeros(2, 3, 0, 4),
    lambda: torch.zeros(3, 4, device="meta"), lambda: torch.zeros(3, 17, 24).to_sparse(), lambda: torch.float16,
    lambda: torch.zeros(3, 17, 24, requires_grad=True), lambda: torch.zeros(17, 24, dtype=torch.complex64),
    lambda: torch.device("cpu"), lambda: Image.new("RGB", (24, 17)), lambda: Image.new("F", (3, 0)),
    lambda: Image.open(io.BytesIO(WHOLE[0][:-40])), lambda: Path("none"), lambda: Path("a\0"), lambda: "",
    lambda: " ", lambda: "a", lambda: "a\0b", lambda: "\ud800", lambda: "\U0001f408", lambda: "a " * 5_000, lambda: "~",
    lambda: "~nobody/x", lambda: ".", lambda: "/", lambda: "a/b", lambda: "none", lambda: "auto", lambda: "cpu",
    lambda: "dds", lambda: "./x.py:Y", lambda: "lut", lambda: scumble.DDS, lambda: scumble.SDEdit(steps=1),
    lambda: (x for x in "ab"), lambda: len, lambda: range(3), lambda: memoryview(b"abc"), lambda: Exception("x"),
]  # fmt: skip
ODD = st.sampled_from(range(len(MAKERS)))
ASKED = sorted({field.name for field in fields(Recipe)})


def usual(model: object) -> dict[str, Any]:
    settings = {"steps": 1}
    return {"image": WHOLE[0], "source": "a", "target": "b", "method": "sdedit", "settings": settings, "size": 16,
            "model": model}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@examples(900)
@given(
    wrong=st.dictionaries(st.sampled_from([*ASKED, "on_step"]), ODD, min_size=1, max_size=2),
    whole=st.booleans(),
)
def test_arguments_of_edit_and_plan(wrong: dict[str, int], whole: bool, model: scumble.Prior) -> None:
    arguments = {**usual(model), **{name: MAKERS[k]() for name, k in wrong.items()}}
    with contextlib.suppress(InputError, MachineError):
        if whole:
            edit = scumble.edit(**arguments)
            assert edit.picture is not None
        else:
            arguments.pop("on_step", None)
            scumble.api.plan(**arguments)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@examples(400)
@given(name=st.sampled_from(sorted(field.name for field in fields(Loading))), k=ODD)
def test_arguments_of_load(name: str, k: int, pristine: Path) -> None:  # noqa: F811
    arguments: dict[str, Any] = {"model": pristine, "device": "cpu", name: MAKERS[k]()}
    arguments.pop("_", None)
    with contextlib.suppress(InputError, MachineError):
        assert scumble.load(**arguments).card.id


@pytest.mark.usefixtures("unchecked")
@examples(300)
@given(
    axes=st.dictionaries(st.sampled_from(["method", "target", "seed", "keep", "steps", "x"]),
                         st.lists(ODD, max_size=3), min_size=1, max_size=2),
    method=ODD,
)  # fmt: skip
def test_axes_of_sweeps(axes: dict[str, list[int]], method: int) -> None:
    with contextlib.suppress(InputError):
        recipe = Recipe("in.png", source="a", target="b", method=MAKERS[method]())
        swept = {name: [MAKERS[k]() for k in several] for name, several in axes.items()}
        for variant in variants(swept, recipe):
            assert variant.label
            assert len(variant.file.encode()) < 255


# States of a host ----------------------------------------------------------------------------------------


@pytest.mark.slow
@examples(100)
@given(method=st.sampled_from(ABLE), states=st.sets(st.sampled_from(sorted(PARTS)), min_size=1))
def test_states_of_a_host(method: str, states: set[str], model: scumble.Prior) -> None:
    circle = Image.new("RGB", (24, 16), "white")
    plain = PLAIN.setdefault(method, edited(model, method, circle))
    with contextlib.ExitStack() as stack:
        for state in sorted(states):
            stack.enter_context(PARTS[state]())
        again = edited(model, method, circle)
    assert np.array_equal(plain, again)


PLAIN: dict[str, np.ndarray] = {}
