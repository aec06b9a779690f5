"""A folder of small pictures, a manifest writer, and the command on the tiny model."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from scumble import cli
from tests.priors.conftest import pristine  # noqa: F401
from tests.surfaces.conftest import loaded, model  # noqa: F401

Rows = Sequence[Mapping[str, Any]]
Batch = Callable[..., int]
COLOURS = "red", "blue", "green", "black"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with p0.png to p3.png, circles of four colours."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, colour in enumerate(COLOURS):
        image = Image.new("RGB", (64, 48), "white")
        ImageDraw.Draw(image).ellipse((10 + 4 * i, 10, 40 + 4 * i, 40), fill=colour)
        image.save(folder / f"p{i}.png")
    return folder


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """One edit of every picture."""
    return [
        {"id": f"r{i}", "image": f"in/p{i}.png", "source": f"a {c}", "target": "b", "seed": 7 * i}
        for i, c in enumerate(COLOURS)
    ]


@pytest.fixture
def batch(tmp_path: Path, pictures: Path, loaded: list[str]) -> Batch:  # noqa: F811
    """batch(rows, flags...): the exit code of a batch of `rows` into tmp_path/out, two steps of SDEdit a row."""

    def run(rows: Rows, *flags: object, name: str = "edits.jsonl") -> int:
        manifest = write(tmp_path / name, rows)
        usual = ["--method", "sdedit", "--set", "steps=4", "-o", tmp_path / "out", "--quiet"]
        return cli.run(["batch", *map(str, [manifest, *usual, *flags])])

    return run


def write(manifest: Path, rows: Rows) -> Path:
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def results(out: Path) -> dict[str, dict[str, Any]]:
    """The latest record of every row, by id."""
    lines = (out / "results.jsonl").read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}
