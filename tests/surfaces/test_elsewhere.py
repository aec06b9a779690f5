"""Files from other programs: masks of all kinds, hidden colours, PNG chunks that no picture needs."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble import InputError
from scumble.pictures import png, reading, writing
from scumble.pictures.canvas import finish

SIDE = 64
Y, X = np.mgrid[:SIDE, :SIDE]
INSIDE = (X - 32) ** 2 + (Y - 32) ** 2 < 15**2
TRUE = np.where(INSIDE, 255, 0).astype(np.uint8)


def photo() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def painted(colour: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.where(INSIDE[..., None], colour, 0).astype(np.uint8))


def sheet(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), colour)
    image.putalpha(Image.fromarray(TRUE))
    return image


def holed() -> Image.Image:
    image = Image.fromarray(photo())
    image.putalpha(Image.fromarray(255 - TRUE))
    return image


def jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return Image.open(stream)


TAKEN: dict[str, tuple[Callable[[], Image.Image], str | None]] = {
    "white on black": (lambda: Image.fromarray(TRUE), None),
    "0 and 1": (lambda: Image.fromarray(TRUE // 255), "values are 0 and 1"),
    "red on black": (lambda: painted((255, 0, 0)), "one colour on black"),
    "a red JPEG": (lambda: jpeg(painted((230, 20, 60))), "one colour on black"),
    "dark green on black": (lambda: painted((10, 100, 20)), "one colour on black"),
    "white on transparent": (lambda: sheet((255, 255, 255)), None),
    "blue on transparent": (lambda: sheet((0, 0, 255)), "one colour on a transparent sheet"),
    "black on transparent": (lambda: sheet((0, 0, 0)), "black paint on a transparent sheet"),
    "a hole": (holed, "a transparent hole"),
    "a grey JPEG": (lambda: jpeg(Image.fromarray(TRUE)), None),
    "noise in the black": (lambda: Image.fromarray(np.maximum(TRUE, (X % 2).astype(np.uint8))), None),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_masks_of_many_kinds_are_read_and_told(kind: str) -> None:
    make, warning = TAKEN[kind]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        values = np.asarray(reading.read_mask(make(), (SIDE, SIDE)).values)
    away = np.abs(np.hypot(X - 32, Y - 32) - 15) > (
        9 if "JPEG" in kind else 0.1
    )  # an edge rings within its block
    assert (np.abs(values.astype(int) - TRUE)[away] <= 40).all()
    assert (values[away & ~INSIDE] == 0).all()
    assert [str(w.message) for w in seen if warning is None] == []
    assert warning is None or warning in str(seen[0].message)


def test_white_around_a_hole_may_be_a_picture_or_a_mask() -> None:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    image.putalpha(Image.fromarray(255 - TRUE))
    with pytest.warns(UserWarning, match="white around a transparent hole; what is white may change"):
        values = np.asarray(reading.read_mask(image, (SIDE, SIDE)).values)
    assert np.array_equal(values, 255 - TRUE)


def test_soft_masks_stay_soft() -> None:
    ramp = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
    values = np.asarray(reading.read_mask(ramp, (SIDE, SIDE)).values)
    assert len(np.unique(values)) > 30


def test_a_map_of_labels_is_doubted() -> None:
    labels = Image.fromarray(
        np.asarray([(0, 0, 0), (200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)[X // 16]
    )
    with pytest.warns(UserWarning, match="map of labels"):
        reading.read_mask(labels, (SIDE, SIDE))


def test_a_mask_of_compression_noise_alone_is_black() -> None:
    with pytest.raises(InputError, match="all black"):
        reading.read_mask((X % 7).astype(np.uint8), (SIDE, SIDE))


def cut_out(hidden: int) -> Image.Image:
    colours = np.full((SIDE, SIDE, 3), hidden, np.uint8)
    colours[INSIDE] = (200, 40, 40)
    image = Image.fromarray(colours)
    image.putalpha(Image.fromarray(TRUE))
    return image


def test_colours_that_nobody_sees_decide_nothing_and_stay() -> None:
    white, black = (reading.read(cut_out(hidden)) for hidden in (255, 0))
    assert (np.asarray(white.rgb) == np.asarray(black.rgb)).all()
    for picture, hidden in ((white, 255), (black, 0)):
        back = np.asarray(finish(picture.rgb, picture))
        assert (back[~INSIDE, :3] == hidden).all()
        assert (back == np.asarray(cut_out(hidden))).all()


def test_something_light_is_not_lost_on_white() -> None:
    image = Image.fromarray(np.full((SIDE, SIDE, 3), 250, np.uint8))
    image.putalpha(Image.fromarray(TRUE))
    assert (np.asarray(reading.read(image).rgb)[~INSIDE] == 128).all()


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def with_chunk(extra: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, "PNG")
    data = stream.getvalue()
    end = 8 + 25  # after the signature and IHDR
    return data[:end] + extra + data[end:]


LONG = b"Comment\0" + b"x" * 2_000_000
MENDED = {
    "tIME": chunk(b"tIME", bytes(7), crc=1),
    "tEXt": chunk(b"tEXt", LONG),
    "zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)),
    "iTXt": chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"x" * 2_000_000),
    "iCCP": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3_000_000))),
}


@pytest.mark.parametrize("kind", MENDED)
def test_a_whole_picture_is_read_without_the_chunk_that_is_broken(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(MENDED[kind]))
    with pytest.warns(UserWarning, match=rf"{kind}; the pixels are whole"):
        picture = reading.read(path)
    assert (np.asarray(picture.rgb) == photo()).all()


def test_a_broken_chunk_of_the_picture_itself_stays_an_error(tmp_path: Path) -> None:
    data = bytearray(with_chunk(b""))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(InputError, match="broken"):
        reading.read(tmp_path / "a.png")


def test_small_text_and_profiles_are_left_alone() -> None:
    assert png.mended(with_chunk(chunk(b"tEXt", b"Comment\0hello"))) is None
    assert png.mended(b"no PNG") is None


@pytest.mark.parametrize(
    ("extra", "warning"),
    [
        (chunk(b"gAMA", struct.pack(">I", 100_000)), "gamma of 1.000"),
        (chunk(b"cICP", bytes((9, 16, 0, 1))), "cICP"),
    ],
)
def test_colour_information_that_is_lost_is_named(extra: bytes, warning: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(with_chunk(extra))
    with pytest.warns(UserWarning, match=warning):
        reading.read(tmp_path / "a.png")


@pytest.mark.parametrize(("space", "said"), [(b"GRAY", "grey"), (b"CMYK", "CMYK"), (b"RGB ", "")])
def test_a_profile_that_is_lost_is_named(space: bytes, said: str, tmp_path: Path) -> None:
    profile = bytes(16) + space + bytes(108)
    Image.new("L", (20, 20)).save(tmp_path / "a.jpg", icc_profile=profile)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        picture = reading.read(tmp_path / "a.jpg")
    assert (picture.icc is None) == bool(said)
    assert [f"its {said} colour profile is ignored" in str(each.message) for each in seen] == [True] * bool(
        said
    )


def test_the_usual_gamma_needs_no_word(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(with_chunk(chunk(b"gAMA", struct.pack(">I", 45_455))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading.read(tmp_path / "a.png")


def test_the_transparent_level_of_a_16_bit_grey_picture_is_kept(tmp_path: Path) -> None:
    grey = np.where(INSIDE, 40_000, 1_000).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=1_000)
    picture = reading.read(tmp_path / "a.png")
    assert picture.alpha is not None
    assert (np.asarray(picture.alpha) == TRUE).all()


def test_an_opaque_alpha_is_no_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(photo())
    image.putalpha(255)
    picture = reading.read(image)
    assert not picture.transparent
    writing.check_output(tmp_path / "a.jpg", alpha=picture.transparent)
    writing.save(finish(picture.rgb, picture), tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"
    assert reading.read(cut_out(0)).transparent
