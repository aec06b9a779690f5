"""`scumble invert` and `--given`: a file made once, used for many edits, and refused for any other."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from scumble import artifacts, cli
from scumble.artifacts.inversion import Inversion
from scumble.pictures import reading

RED = ["--source", "a red circle"]
SHORT = ["--set", "steps=2"]


def scumble(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


@pytest.fixture
def inverted(png: Path, loaded: list[str]) -> Path:
    """An inversion of the red circle by the tiny model, in two steps."""
    assert scumble("invert", png, *RED, *SHORT) == 0
    return png.with_suffix(".inv")


def test_it_says_where_it_is_and_what_it_is_for(
    png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = png.with_name("other.inv")
    assert scumble("invert", png, *RED, *SHORT, "-o", out) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert f"2 evaluations; use it with: scumble edit {png} --given inversion={out}\n" in printed.err


def test_one_inversion_serves_many_edits(inverted: Path, png: Path) -> None:
    made = artifacts.load(inverted)
    assert isinstance(made, Inversion)
    assert (made.prompts, len(made.pairs), made.forced) == (("a red circle",), 2, True)
    for method in ("direct_inversion", "ddim_inversion", "npi"):
        edit = ["edit", png, *RED, "--target", "a blue circle", "--method", method, *SHORT]
        assert scumble(*edit, "--given", f"inversion={inverted}", "-o", png.with_name(f"{method}.png")) == 0
        passport = reading.read_passport(png.with_name(f"{method}.png"))
        assert passport is not None
        assert passport["given"] == {"inversion": artifacts.digest(made)}
        # The way up was not walked again.
        assert passport["evaluations"] == (8 if method == "direct_inversion" else 4)


def test_an_inversion_given_gives_the_edit_that_making_it_would(inverted: Path, png: Path) -> None:
    edit = ["edit", png, *RED, "--target", "a blue circle", "--method", "direct_inversion", *SHORT]
    assert scumble(*edit, "--given", f"inversion={inverted}", "-o", png.with_name("given.png")) == 0
    assert scumble(*edit, "-o", png.with_name("made.png")) == 0
    given, made = (Image.open(png.with_name(f"{name}.png")).tobytes() for name in ("given", "made"))
    assert given == made


def test_messages_have_the_right_article(
    inverted: Path, png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit = ["edit", png, *RED, "--target", "a green circle", "--given"]
    for given, says in {
        f"tuned={inverted}": "the file holds an inversion, not a tuned model",
        f"editor={tmp_path}": "no config.json there; name the folder of an editor",
    }.items():
        assert scumble(*edit, given) == 2
        assert says in capsys.readouterr().err
    assert scumble(*edit[:-1], "--method", "editor") == 2
    assert "editor needs an editor; name its file or folder with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("says", "changes"),
    [
        ("inversion: made with the source prompt 'a red circle'", ["--source", "a blue circle"]),
        ("inversion: made on a grid of 2 steps", ["--set", "steps=3"]),
        ("inversion: made at 16 x 12 pixels", ["--size", "48"]),
        ("--given cat: write it as inversion=FILE", ["--given", "cat"]),
        ("nowhere.inv: no such file", ["--given", "inversion=nowhere.inv"]),
    ],
)
def test_it_is_refused_for_anything_else(
    says: str, changes: list[str], inverted: Path, png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit = ["edit", png, *RED, "--target", "a green circle", "--method", "npi", *SHORT, "--given"]
    out = png.with_name("out.png")
    assert scumble(*edit, f"inversion={inverted}", *changes, "-o", out) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_another_picture_is_refused(
    inverted: Path, png: Path, circle: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    circle.rotate(90).save(png)
    circle.point(lambda v: 255 - v).save(png)
    edit = ["edit", png, *RED, "--target", "a green circle", "--method", "npi", *SHORT]
    assert scumble(*edit, "--given", f"inversion={inverted}") == 2
    assert "inversion: made of another picture" in capsys.readouterr().err


def test_what_cannot_be_inverted_is_refused(
    png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused(*arguments: object) -> str:
        assert scumble("invert", png, *arguments) == 2
        return capsys.readouterr().err

    assert "--method dds: it makes no inversion; these do: ddim_inversion" in refused(*RED, "--method", "dds")
    assert "source: empty" in refused()
    assert "no such folder" in refused(*RED, "-o", tmp_path / "nowhere" / "cat.inv")
    assert "guidance: 1.0 must be greater than 1" in refused(
        *RED, "--method", "null_text", "--set", "guidance=1"
    )
    assert loaded == []
    png.with_suffix(".inv").write_text("mine")
    assert "exists already; --overwrite replaces it" in refused(*RED)
    assert png.with_suffix(".inv").read_text() == "mine"
    assert sorted(path.name for path in png.parent.iterdir()) == ["circle.inv", "circle.png"]


def test_an_interrupted_inversion_leaves_nothing(
    png: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Callable[..., None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(artifacts, "save", interrupted)
    assert scumble("invert", png, *RED, *SHORT) == 130
    assert [path.name for path in png.parent.iterdir()] == ["circle.png"]


def test_a_direction_stands_for_the_target(
    png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    edit = ["edit", png, *RED, "--method", "pix2pix_zero", "--set", "steps=1", "--set", "rounds=1"]
    assert scumble(*edit, "--given", "direction=circle,star", "-o", png.with_name("star.png")) == 0
    passport = reading.read_passport(png.with_name("star.png"))
    assert passport is not None
    assert passport["given"].keys() == {"direction"}
    assert scumble(*edit, "-o", png.with_name("none.png")) == 2
    assert "target: empty" in capsys.readouterr().err
