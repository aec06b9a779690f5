"""The examples run from end to end; what they paint with random weights is noise."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from . import tiny

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
WRITTEN = {
    "neural_field": {"source.png": 16, "edited.png": 16, "edited_large.png": 64},
    "recolour": {"source.png": 512, "edited.png": 512, "other.png": 512, "other_edited.png": 512},
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_example_writes_its_pictures(name: str, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "tiny")
    command = [EXAMPLES / f"{name}.py", "--model", folder, "--out", tmp_path / "out", "--steps", "2"]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pictures = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    assert pictures == {name: (side, side) for name, side in WRITTEN[name].items()}
    assert (tmp_path / "out/source.png").read_bytes() != (tmp_path / "out/edited.png").read_bytes()
