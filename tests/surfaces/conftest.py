"""A checkpoint so small that a whole edit takes a moment. What it paints is noise; the handling is real."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import scumble
from scumble.core.loading import Loading
from scumble.editing import loading
from tests.priors.conftest import pristine  # noqa: F401


@pytest.fixture
def checkpoint(pristine: Path, tmp_path: Path) -> Callable[..., Path]:  # noqa: F811
    """checkpoint(**card): a copy of the folder whose card.json says so."""

    def make(**card: object) -> Path:
        folder = Path(shutil.copytree(pristine, tmp_path / "model"))
        if card:
            (folder / "card.json").write_text(json.dumps(card))
        return folder

    return make


@pytest.fixture(scope="session")
def model(pristine: Path) -> scumble.Prior:  # noqa: F811
    """The checkpoint, loaded once."""
    return scumble.load(pristine, device="cpu")


@pytest.fixture
def png(circle: Image.Image, tmp_path: Path) -> Path:
    """The red circle in a file, alone in a folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    circle.save(folder / "circle.png")
    return folder / "circle.png"


@pytest.fixture
def loaded(model: scumble.Prior, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the commands asked to load; they get the tiny model, which is loaded once for all tests."""
    asked: list[str] = []

    def load(loading: Loading) -> scumble.Prior:
        if not isinstance(loading.model, str):
            return loading.model  # pyright: ignore[reportReturnType]
        asked.append(loading.model)
        return model

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(
        loading, "usual_method", lambda model: "dds"
    )  # whatever it is called, its card names none
    return asked
