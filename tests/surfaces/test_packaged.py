"""The networks in the package, by the name of the model that they were made for."""

from pathlib import Path

import pytest
from PIL import Image

import scumble
from scumble import cli
from scumble.core.errors import InputError
from scumble.editing import given

pytestmark = [pytest.mark.slow, pytest.mark.weights]


@pytest.mark.parametrize("name", ["classifier", "clip", "editor"])
def test_a_packaged_network_is_called_scenes(name: str) -> None:
    assert given.packaged(name)
    assert given.network(name, "scenes") is not None


def test_the_editor_recolours_and_the_result_replays(tmp_path: Path) -> None:
    picture = Image.new("RGB", (128, 128), "white")
    picture.paste((226, 36, 36), (40, 40, 88, 88))
    picture.save(tmp_path / "in.png")
    out = tmp_path / "out.png"
    assert cli.run(["apply", "scenes", str(tmp_path / "in.png"), "--task", "blue", "-o", str(out)]) == 0
    with Image.open(out) as edited:
        red, green, blue = edited.convert("RGB").getpixel((64, 64))  # pyright: ignore[reportGeneralTypeIssues]
        assert blue > 150
        assert max(red, green) < 110
        assert edited.convert("RGB").getpixel((4, 4)) == (255, 255, 255)
    assert cli.run(["replay", str(out), "--quiet"]) == 0
    editor = scumble.load_editor("scenes")
    with pytest.raises(InputError, match="there is no 'tiger'; this editor has blue, red"):
        editor(picture, task="tiger")
