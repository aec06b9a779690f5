"""The page, served as its user serves it, by a process of its own with the tiny model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import scumble
from scumble.editing import loading
from scumble.page.client import PageClient
from scumble.page.house import House
from scumble.page.options import Options
from tests.page.browser import complaints, opened, visit
from tests.priors.conftest import pristine  # noqa: F401
from tests.stages import random_stage

pytest.importorskip("starlette", reason="the page needs pip install 'scumble[web]'")
pytest.importorskip("uvicorn", reason="the page needs pip install 'scumble[web]'")

Serve = Callable[..., "Page"]


class Page:
    """A running page: `url`, and `folder`, where it keeps pictures."""

    def __init__(self, folder: Path, *options: str):
        self.folder = folder
        self.log = folder.with_suffix(".log")
        folder.mkdir()
        environment = {**os.environ, "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scumble", "page", "--port", "0", *options],
                env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log.read_text()

    def close(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait(60)

    @property
    def files(self) -> list[Path]:
        """What lies on the disk, as far as the page has put it there."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def checkpoint(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The tiny model, by a name of its own."""
    return Path(shutil.copytree(pristine, tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage that draws something of its own: its weights are random in every layer."""
    return random_stage(tmp_path_factory.mktemp("stage") / "tiny-x2")


@pytest.fixture(scope="session")
def particular(checkpoint: Path, stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a card: it knows few words, recommends values, and has a stage for larger results."""
    folder = Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("models") / "particular"))
    card = {
        "domain": "circles.",
        "words": ["a", "red", "blue", "green", "circle", "star"],
        "recommended": {"dds": {"guidance": 3.5}},
        "upscaler": str(stage),
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def serve(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Serve]:
    """serve(*options): a page with the tiny model, after those that the options name."""
    pages: list[Page] = []

    def start(*options: str) -> Page:
        pages.append(Page(tmp_path_factory.mktemp("page") / "files", *options, "--model", str(checkpoint)))
        return pages[-1]

    yield start
    for each in pages:
        if each.process.poll() is None:
            each.close()


@pytest.fixture(scope="session")
def page(serve: Serve) -> Page:
    """One page for many tests, its model loaded."""
    page = serve()
    client = PageClient(page.url)
    while not all(model["loaded"] for model in client.ask("GET", "/api")["models"]):
        time.sleep(0.05)
    client.close()
    return page


@pytest.fixture
def client(page: Page) -> Generator[PageClient]:
    """A program that uses the page."""
    client = PageClient(page.url)
    yield client
    client.close()


@pytest.fixture
def prior(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> scumble.Prior:
    """The tiny model, loaded; in this process whatever is named is it."""
    prior = scumble.load(checkpoint, device="cpu")
    monkeypatch.setattr(loading, "load", lambda asked: prior if isinstance(asked.model, str) else asked.model)
    return prior


@pytest.fixture
def house(prior: scumble.Prior) -> Generator[House]:
    """What makes the edits of a page, in this process, with that model."""
    house = House(Options(models=("tiny",)))
    house.start()
    yield house
    house.close()


@pytest.fixture(scope="session")
def chromium() -> Generator[Any]:
    """The browser, with nothing between it and this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    unboxed = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=unboxed)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, page: Page) -> Generator[Any]:
    """The page, opened anew by a client of its own. At the end, the console must hold no error."""
    with opened(chromium, accept_downloads=True) as tab:
        said = complaints(tab)
        visit(tab, page.url)
        yield tab
        errors = list(said)  # what is deleted now may still be on its way
        tab.evaluate("fetch('api/client', {method: 'DELETE'})")
    assert errors == []


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A red circle on white, 96x64 pixels, in a file."""
    image = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(image).ellipse((28, 12, 68, 52), fill="red")
    folder = tmp_path / "in"
    folder.mkdir()
    image.save(folder / "circle.png")
    return folder / "circle.png"
