"""The page shows every figure, and says of each what its numbers say."""

from pathlib import Path

import pytest

from scumble.pictures import reading
from scumble.reproduce import tables
from scumble.reproduce.figures import FIGURES

DOCS = Path(__file__).parents[2] / "docs"
FIGURE = DOCS / "pictures/reproduce"


@pytest.mark.parametrize("name", FIGURES)
def test_the_page_says_what_was_measured(name: str) -> None:
    page = " ".join((DOCS / "reproduce.md").read_text(encoding="utf-8").split())
    experiment = FIGURES[name]()
    sentence = experiment.judge(tables.rows(FIGURE / f"{name}.csv")).sentence
    assert sentence in page
    assert f"](pictures/reproduce/{name}.png)" in page
    assert " ".join(experiment.claim.split()) in page
    passport = reading.read_passport(FIGURE / f"{name}.png")
    assert passport is not None
    assert (passport["figure"], passport["verdict"], passport["split"]) == (name, sentence, "test")
    assert (FIGURE / f"{name}.png").stat().st_size < 120_000
