"""A model without weights that takes any prompt, and pictures for it: a figure costs a moment."""

from pathlib import Path
from typing import Any

import pytest

from scumble.editing import loading
from scumble.reproduce.material import Material, scenes
from scumble.reproduce.run import Run
from tests.bench.conftest import SIDE, AnyPrompt

SMALL = {
    "n": 2,
    "steps": 3,
    "draws": 2,
    "levels": 2,
    "sampling": 2,
    "scales": (1.0, 3.0),
    "weights": (0.0, 0.1),
}


def small(kind: type[Any]) -> Any:
    """The experiment at its smallest."""
    return kind(**{name: value for name, value in SMALL.items() if name in kind.__dataclass_fields__})


@pytest.fixture
def prior() -> AnyPrompt:
    return AnyPrompt()


@pytest.fixture
def material(prior: AnyPrompt) -> Material:
    tasks, prompts = scenes("validation", 4, SIDE)
    return Material.of(prior, tasks.all, guidance=3.0, prompts=prompts)


@pytest.fixture
def run(material: Material, tmp_path: Path) -> Run:
    return Run(out=tmp_path, material=material, world={"world": "reproduce", "split": "validation"})


@pytest.fixture
def loaded(prior: AnyPrompt, monkeypatch: pytest.MonkeyPatch) -> AnyPrompt:
    """What every command loads."""
    monkeypatch.setattr(loading, "load", lambda asked: prior)
    return prior
