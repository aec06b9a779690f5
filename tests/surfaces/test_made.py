"""Pictures of release 0.1.0 replay. `made/` holds results of its commands on `made/in.png` with the built-in model.

Their records are those of that release. Pixels, and the model's hash in the record, are of the third weights.
"""

import json
import shutil
from pathlib import Path

import pytest

from scumble import cli
from scumble.pictures import reading

MADE = Path(__file__).with_name("made")
PIXELS = 60 * 48

# (largest difference in 8-bit steps, pixels that may differ). On the processor that made them all are equal. Another
# one adds floating-point numbers in another order, and a value near the middle between two 8-bit levels may round to
# the other one. Measured without AVX-512 and without AVX: of PNG and WebP at most 4 pixels differ, by 1; in the JPEG,
# whose compression spreads a rounded value over its block of 8 x 8 pixels, 79 pixels (of two blocks) by at most 3.
ROUNDED = {
    "cell.png": (1, 5),
    "dds.png": (1, 5),
    "lut.webp": (1, 5),
    "sdedit-mask.png": (1, 5),
    "paper.jpg": (3, 128),
}


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_a_picture_of_an_earlier_release_replays(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    assert reading.read(tmp_path / name).size == (60, 48)
    assert cli.run(["replay", str(tmp_path / name), "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    largest, pixels = ROUNDED[name]
    assert report["largest"] <= largest
    assert round(report["share"] * PIXELS) <= pixels


def test_every_kept_picture_is_replayed() -> None:
    assert {path.name for path in MADE.iterdir()} == {*ROUNDED, "in.png", "mask.png"}
