"""`scumble attention`: a sheet with a heat map for every word, or one clear line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import scumble
from scumble import cli
from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.editing.heat import heat_maps
from scumble.loops.observe import observe
from scumble.pictures import reading
from scumble.pictures.placed import Placed
from tests.priors.conftest import pristine  # noqa: F401
from tests.surfaces.test_cli import refused  # noqa: F401


@pytest.mark.slow
def test_every_word_is_drawn_once(
    png: Path,
    checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(png.parent)
    line = ["attention", png.name, "--prompt", "a dot, a box", "--model", str(checkpoint())]
    assert cli.run(line) == 0
    printed = capsys.readouterr()
    assert printed.out == "circle.attention.png\n"
    assert "model model: " in printed.err
    sheet = Image.open("circle.attention.png").tobytes()
    assert cli.run([*line, "--word", "dot", "-o", "dot.png", "--quiet"]) == 0
    assert Image.open("dot.png").size < Image.open("circle.attention.png").size
    assert cli.run([*line, "-o", "again.png"]) == 0
    assert Image.open("again.png").tobytes() == sheet


def test_a_map_lies_over_the_picture(png: Path, model: scumble.Prior) -> None:
    picture = reading.read(png)
    whole, dot = heat_maps(Placed.of(picture, model), "a dot", ["dot"])
    assert whole.picture.tobytes() == picture.rgb.tobytes()
    assert dot.picture.size == whole.picture.size == (96, 64)
    assert dot.lines[0] == "dot"
    assert dot.lines[1].endswith(" % of the attention")


@torch.no_grad()
def test_maps_sum_to_one_over_the_tokens(model: scumble.Prior) -> None:
    z, text, steps = torch.zeros(2, 4, 8, 8), model.embed(["a dot", "a box"]), list[tuple[int, int]]()
    maps = observe(model, z, text, [900, 300], Noise(0, 2), lambda k, n, *_: steps.append((k, n)))
    assert steps == [(1, 2), (2, 2)]
    for found in maps.strides.values():
        torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))
    assert not maps["box"][0].any()
    assert maps["box"][1].any()


def test_what_cannot_be_drawn_is_refused(
    png: Path,
    checkpoint: Callable[..., Path],
    refused: Callable[..., str],  # noqa: F811
    model: scumble.Prior,
) -> None:
    assert "prompt: empty" in refused("attention", png)
    folder = checkpoint()
    line = ["attention", png, "--prompt", "a dot", "--model", folder]
    assert "'box' is in none of the prompts" in refused(*line, "--word", "box")
    assert "must end in" in refused(*line, "-o", "out.gif")
    (folder / "card.json").write_text('{"capabilities": ["text"]}')
    assert "has no attention that can be read" in refused(*line)
    with pytest.raises(InputError, match="'box' is in none of the prompts"):
        heat_maps(Placed.of(reading.read(png), model), "a dot", ["box"])


@pytest.mark.slow
def test_words_are_given_on_the_command_line(
    png: Path,
    checkpoint: Callable[..., Path],
    refused: Callable[..., str],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = png.with_name("out.png")
    line = ["edit", png, "--source", "a dot", "--target", "a box", "--method", "p2p", "--model", checkpoint()]
    words = ["--set", "reweight=box=2", "--set", "windows=box=0.2:0.6", "--set", "blend=dot | box"]
    assert cli.run([*map(str, line), *words, "--set", "steps=2", "-o", str(out), "--quiet"]) == 0
    capsys.readouterr()
    passport = reading.read_passport(out)
    assert passport is not None
    assert passport["settings"]["reweight"] == {"value": "box=2", "from": "user"}
    out.unlink()
    assert "'tree' is in none of the prompts" in refused(*line, "--set", "reweight=tree=2")
    assert "reweight: 'box' is not WORD=VALUE" in refused(*line, "--set", "reweight=box")
    assert "names no word for the target" in refused(*line, "--set", "blend=dot |")
    more = [*line[:5], "a red box", *line[6:]]
    assert "as many words as the source has, 2, not 3" in refused(*more, "--set", "edit=replace")
