"""Contact sheets, comparisons and films: legible at any size, in any script, the same every time."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scumble.core.errors import InputError
from scumble.pictures import lettering
from scumble.pictures.sheets import FILMS, MARK, PAPER, Cell, compare, difference, film, panel, percent, sheet

MANY_SCRIPTS = [
    "一只红色的圆形" * 30, "красный круг", "דוגמה مثال", "été à Łódź", "\u0301", "\ud800\x00\n\t", "😀👩‍🎨",
    "\\u", "", "   ",
]  # fmt: skip


def colour_of(hexed: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(hexed[1:]))


@pytest.mark.parametrize("size", [(1, 1), (96, 64), (300, 200), (3, 2000), (5000, 7), (1200, 900)])
def test_panels(size: tuple[int, int]) -> None:
    shown = panel(Image.new("RGB", size), 512, 1024)
    assert 512 <= max(shown.size) <= 1024
    assert min(shown.size) >= 1
    if max(size) <= 512:  # each pixel is a whole square
        assert shown.width % size[0] == shown.height % size[1] == 0


def test_small_pictures_keep_their_pixels(circle: Image.Image) -> None:
    shown = panel(circle, 512, 1024)
    assert shown.size == (96 * 6, 64 * 6)
    assert np.array_equal(np.asarray(shown)[3::6, 3::6], np.asarray(circle))


def test_a_sheet_shows_every_picture_and_frames_the_marked(circle: Image.Image) -> None:
    cells = [Cell(circle, [f"guidance {g}", "3.1 s"], mark=g == 5) for g in (3, 5, 7)]
    pixels = np.asarray(sheet(cells, columns=3, title="what was asked"))
    red = (pixels == (255, 0, 0)).all(axis=2).any(axis=0)
    assert np.count_nonzero(np.diff(red.astype(int)) == 1) == 3
    framed = np.flatnonzero((pixels == colour_of(MARK)).all(axis=2).any(axis=0))
    thirds = pixels.shape[1] / 3
    assert thirds - 8 < framed.min() < framed.max() < 2 * thirds + 8
    assert not (np.asarray(sheet(cells[:1])) == colour_of(MARK)).all(axis=2).any()


def test_columns_follow_the_shape_of_the_cells(circle: Image.Image) -> None:
    wide, tall = circle.resize((400, 40)), circle.resize((40, 400))
    sizes = [sheet([Cell(p, ["x"])] * 12).size for p in (wide, circle, tall)]
    assert all(1 / 2 < width / height < 3 for width, height in sizes)
    assert sheet([Cell(circle, ["x"])] * 2, columns=9).width < 1000  # no empty columns


def test_sheets_are_deterministic(circle: Image.Image) -> None:
    cells = [Cell(circle, MANY_SCRIPTS)] * 2
    assert sheet(cells, title="a").tobytes() == sheet(cells, title="a").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_any_mode_is_shown(mode: str, circle: Image.Image) -> None:
    made = sheet([Cell(circle.convert(mode), ["x"])])
    assert made.mode == "RGB"


def test_transparency_is_chequered(circle: Image.Image) -> None:
    clear = circle.copy()
    clear.putalpha(0)
    colours = {colour for _, colour in sheet([Cell(clear, [])]).getcolors() or []}
    assert colours == {colour_of(PAPER), (255, 255, 255), colour_of("#d4d4d8")}


@pytest.mark.parametrize("text", MANY_SCRIPTS)
def test_any_text_becomes_lines_that_fit(text: str) -> None:
    lines = lettering.wrap(text, 200, 15)
    assert all(lettering.font(15).getlength(line) <= 200 for line in lines)
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= lettering.LONGEST
    assert bool(lines) == bool(text.strip("\u0301 "))


def test_letters_that_the_font_lacks() -> None:
    assert lettering.wrap("e\u0301te\u0301 中", 500, 15) == ["ete \\u4e2d"]
    assert "codes" in lettering.note(["blue", "中"])
    assert lettering.note(["blue", "e\u0301", "\\u"]) == ""


def test_another_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lettering.FONT, str(tmp_path / "none.ttf"))
    with pytest.raises(InputError, match=r"none\.ttf is not a font"):
        lettering.wrap("a", 500, 15)


def test_long_texts_end_in_dots() -> None:
    lines = lettering.wrap("word " * 5000, 300, 15)
    assert len(lines) == lettering.LONGEST
    assert lines[-1].endswith("...")
    assert lettering.wrap("two words", 300, 15) == ["two words"]


def test_difference_is_of_the_channel_that_moved_most(circle: Image.Image) -> None:
    after = circle.copy()
    after.putpixel((0, 0), (255, 254, 245))
    steps = difference(circle, after)
    assert steps[0, 0] == 10
    assert np.count_nonzero(steps) == 1


def test_compare_tells_equal_from_nearly_equal(circle: Image.Image) -> None:
    after = circle.copy()
    after.putpixel((5, 0), (254, 255, 255))
    equal, near = (np.asarray(compare(circle, a, "red", "blue")) for a in (circle, after))
    assert equal.shape == near.shape
    assert equal.shape[1] >= 3 * 512
    x, y = 16 + 2 * (96 * 6 + 16) + 5 * 6 + 3, 16 + 3  # inside that pixel's square in the third panel
    assert tuple(equal[y, x]) == (0, 0, 0)
    assert tuple(near[y, x]) not in {(0, 0, 0), colour_of(PAPER)}


@pytest.mark.slow
def test_a_stray_pixel_survives_reduction() -> None:
    before = Image.new("RGB", (3000, 2000), "white")
    after = before.copy()
    after.putpixel((1501, 777), (0, 255, 255))
    equal, stray = (np.asarray(compare(before, a, "", "")) for a in (before, after))
    height = 2000 * 1024 // 3000
    assert (equal[16 : 16 + height] != stray[16 : 16 + height]).any(axis=2)[:, -1024:].any()


def test_wide_pictures_stand_one_below_the_other() -> None:
    made = compare(Image.new("RGB", (900, 100)), Image.new("RGB", (900, 100)), "a", "b")
    assert made.width < 2 * 900
    assert np.asarray(made).shape[0] > 3 * 100


def test_percent_never_rounds_to_nothing() -> None:
    shown = [percent(share) for share in (0, 1e-6, 0.123, 0.9999, 1)]
    assert shown == ["0.0 %", "less than 0.1 %", "12.3 %", "99.9 %", "100.0 %"]


@pytest.mark.parametrize("suffix", FILMS)
def test_films(suffix: str, circle: Image.Image, tmp_path: Path) -> None:
    frames = []
    for i in range(5):
        frames.append(circle.resize((1500, 1000)))
        ImageDraw.Draw(frames[-1]).rectangle((0, 0, 100 + 100 * i, 100), fill="blue")
    film(frames, tmp_path / f"film{suffix}")
    with Image.open(tmp_path / f"film{suffix}") as made:
        assert made.n_frames == 5  # type: ignore[attr-defined]
        assert max(made.size) == 512
    assert [p.name for p in tmp_path.iterdir()] == [f"film{suffix}"]


def test_films_of_one_frame_and_of_no_format(circle: Image.Image, tmp_path: Path) -> None:
    film([circle], tmp_path / "one.gif")
    assert (tmp_path / "one.gif").exists()
    with pytest.raises(InputError, match=r"must end in \.gif"):
        film([circle], tmp_path / "film.mp4")
