"""What every test shares: few threads, no network, small helpers for pictures."""

import os

# Before torch is imported: the networks here are tiny, and a forgotten hub id must fail, not download.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tests.typecheck  # isort: skip  # shapes are checked at run time; before scumble is imported  # noqa: F401

from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
from PIL import Image, ImageDraw


@pytest.fixture(autouse=True)
def shapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Annotations are checked at run time (`tests.typecheck`), except in tests marked `unchecked`."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("unchecked") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
