"""What every test shares: one thread, no network, small helpers for pictures."""

import os

# Before torch is imported: the networks here are tiny, `make test` runs two processes, and a forgotten hub id must
# fail, not download.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests import typecheck  # isort: skip  # shapes are checked at run time; before scumble is imported

import functools

import numpy as np
import pytest
import typer.main
from PIL import Image, ImageDraw

typer.main.get_command = functools.cache(
    typer.main.get_command
)  # a command line is parsed anew, not built anew


@pytest.fixture(autouse=True)
def annotations_are_checked() -> None:
    typecheck.again()


@pytest.fixture
def circle() -> Image.Image:
    """A red circle on white, 96x64 pixels, drawn by Pillow."""
    image = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(image).ellipse((28, 12, 68, 52), fill="red")
    return image


@pytest.fixture
def photo() -> Image.Image:
    """Smooth colours with detail everywhere, 60x40 pixels: nothing that a small world holds."""
    y, x = np.mgrid[0:40, 0:60]
    waves = [
        127 + 60 * np.sin(x / a + y / b) + 40 * np.cos(x * y / c)
        for a, b, c in [(3, 5, 70), (7, 2, 50), (4, 4, 90)]
    ]
    return Image.fromarray(np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8))
