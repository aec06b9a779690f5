"""Any picture goes in, or one clear error comes out; what is written is whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from scumble import InputError
from scumble.core.atomic import atomic
from scumble.pictures import reading, writing
from scumble.pictures.masks import NOISE
from tests.surfaces.broken import BAD, bad_files, png_header


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_in_one_line(name: str, circle: Image.Image, tmp_path: Path) -> None:
    data, message = bad_files(circle)[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        reading.read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_bad_file_is_tested(circle: Image.Image) -> None:
    assert sorted(bad_files(circle)) == sorted(BAD)


def test_just_under_the_limit_is_not_refused_by_its_header(tmp_path: Path) -> None:
    """Pillow's own limit is lower and must neither warn nor refuse; this one fails later, without pixels."""
    (tmp_path / "large.png").write_bytes(png_header(19_999, 10_000))
    with pytest.raises(InputError, match="truncated"):
        reading.read(tmp_path / "large.png")


def test_pillows_limit_is_put_back(circle: Image.Image, tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    circle.save(tmp_path / "a.png")
    reading.read(tmp_path / "a.png")
    assert before is not None
    assert before == Image.MAX_IMAGE_PIXELS


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.png: no such file"):
        reading.read(tmp_path / "missing.png")
    with pytest.raises(InputError, match="a folder"):
        reading.read(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        reading.read(tmp_path / ("x" * 300 + ".png"))
    with pytest.raises(InputError, match="cannot be written"):
        writing.check_output(tmp_path / ("x" * 300 + ".png"))


def test_unreadable_file(circle: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    circle.save(tmp_path / "a.png")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)  # chmod would not stop root
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        reading.read(tmp_path / "a.png")


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in MODES for mode in MODES[kind]])
def test_every_mode_reads_as_rgb(kind: str, mode: str, photo: Image.Image, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    else:
        image = photo.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(photo.size))
    path = tmp_path / f"a.{kind.lower()}"
    image.save(path, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    picture = reading.read(path)
    assert picture.rgb.mode == "RGB"
    assert picture.size == photo.size
    assert (picture.alpha is not None) == (mode in {"LA", "RGBA"})
    assert picture.grey == (mode in {"1", "L", "LA", "I;16"})
    if kind != "JPEG" and mode in {"RGB", "RGBA"}:
        assert np.array_equal(np.asarray(picture.rgb), np.asarray(photo))
    if kind != "JPEG" and mode in {"L", "LA", "I;16"}:
        assert np.array_equal(np.asarray(picture.rgb)[..., 0], np.asarray(photo.convert("L")))


def test_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    picture = reading.read(tmp_path / "a.png")
    assert picture.alpha is not None
    assert picture.alpha.getpixel((0, 0)) == 0
    assert picture.alpha.getpixel((1, 0)) == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    upright = Image.new("RGB", (8, 4), "white")
    upright.paste("red", (0, 0, 4, 4))
    stored = {  # the turn that each EXIF value undoes
        1: lambda im: im,
        2: lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda im: im.transpose(Image.Transpose.ROTATE_180),
        4: lambda im: im.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda im: im.transpose(Image.Transpose.TRANSPOSE),
        6: lambda im: im.transpose(Image.Transpose.ROTATE_90),
        7: lambda im: im.transpose(Image.Transpose.TRANSVERSE),
        8: lambda im: im.transpose(Image.Transpose.ROTATE_270),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    picture = reading.read(tmp_path / "a.png")
    assert picture.size == (8, 4)
    assert np.array_equal(np.asarray(picture.rgb), np.asarray(upright))


def test_profile_is_kept_where_it_fits(circle: Image.Image, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    circle.save(tmp_path / "a.png", icc_profile=profile)
    assert reading.read(tmp_path / "a.png").icc == profile
    circle.save(tmp_path / "b.png", icc_profile=profile[:16] + b"GRAY" + profile[20:])
    assert reading.read(tmp_path / "b.png").icc is None


def test_pictures_from_memory(circle: Image.Image) -> None:
    assert reading.read(circle).rgb.tobytes() == circle.tobytes()
    assert reading.read(np.asarray(circle)).rgb.tobytes() == circle.tobytes()
    with pytest.raises(InputError, match="uint8"):
        reading.read(np.zeros((4, 4, 3), np.int64))
    with pytest.raises(InputError, match="uint8"):
        reading.read(np.zeros((5, 5, 7), np.uint8))
    with pytest.raises(InputError, match="nothing to edit"):
        reading.read(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(InputError, match="mode F"):
        reading.read(Image.new("F", (4, 4)))


def test_masks(circle: Image.Image, tmp_path: Path) -> None:
    soft = Image.linear_gradient("L").resize((96, 64))
    soft.save(tmp_path / "soft.png")
    values, drawn = np.asarray(reading.read_mask(tmp_path / "soft.png", (96, 64)).values), np.asarray(soft)
    sure = (drawn >= NOISE) & (drawn <= 255 - NOISE)
    assert (values[sure] == drawn[sure]).all()
    assert set(values[drawn < NOISE]) == {0}  # no program's black is cleaner than that
    assert set(values[drawn > 255 - NOISE]) == {255}
    painted = Image.new("RGBA", (96, 64), (255, 255, 255, 0))
    painted.paste((255, 255, 255, 255), (0, 0, 10, 10))
    mask = reading.read_mask(painted, (96, 64)).values
    assert (mask.getpixel((5, 5)), mask.getpixel((20, 20))) == (255, 0)
    with pytest.raises(InputError, match="mask: 96x64 pixels, but the picture has 64x96"):
        reading.read_mask(soft, (64, 96))
    with pytest.raises(InputError, match="nothing may change"):
        reading.read_mask(Image.new("L", (96, 64)), (96, 64))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_save_carries_the_passport(suffix: str, photo: Image.Image, tmp_path: Path) -> None:
    passport = {"seed": 3, "target": "ein grünes Quadrat"}
    path = tmp_path / f"out{suffix}"
    writing.check_output(path)
    writing.save(photo, path, passport)
    assert reading.read_passport(path) == passport
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix in {".png", ".webp"}:
        assert np.array_equal(np.asarray(reading.read(path).rgb), np.asarray(photo))


def test_a_foreign_picture_has_no_passport(circle: Image.Image, tmp_path: Path) -> None:
    circle.save(tmp_path / "a.png")
    assert reading.read_passport(tmp_path / "a.png") is None


def test_outputs_that_cannot_be(circle: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.png"
    circle.save(source)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(source)
    for path, message in [
        (tmp_path / "out.gif", "must end in"),
        (tmp_path / "folder.png", "a folder is in the way"),
        (tmp_path / "missing" / "out.png", "no such folder"),
        (source, "overwrite the input"),
        (tmp_path / "link.png", "overwrite the input"),
    ]:
        with pytest.raises(InputError, match=message):
            writing.check_output(path, [source, None])
    with pytest.raises(InputError, match="transparency"):
        writing.check_output(tmp_path / "out.jpg", alpha=True)

    def denied(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        writing.check_output(tmp_path / "out.png")


def test_a_failed_save_leaves_nothing(photo: Image.Image, tmp_path: Path) -> None:
    old = tmp_path / "out.png"
    old.write_bytes(b"old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        writing.save(photo, old, {"value": float("nan")})
    with pytest.raises(KeyboardInterrupt), atomic(old) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert old.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
