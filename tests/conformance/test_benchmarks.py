"""The benchmarks and the studies run from end to end, on a tiny network, and print their tables."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from . import tiny

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPEED = {
    "machinery": "--steps 2 --rounds 1 --rows 1 2 --pictures 1 2 --methods dds --model {model}",
    "speed": "--steps 1 --rounds 1 --model {model}",
    "full_size": "",
    "startup": "--rounds 1",
}
STUDIES = {
    "dtypes": "--edits 1 --steps 1 --device cpu --model {model}",
    "layer": "--count 2 --set steps=1 --keep auto 0.1 --cache {folder}/layer --model {model}",
    "fast": "time --rounds 1 --steps 2 --dtype float32 --model {model}",
    "guided": "two --n 1 --model {model}",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.save(tmp_path_factory.mktemp("tiny"))
    (folder / "card.json").write_text(json.dumps({"size": 16, "multiple": 16, "domain": "Noise."}))
    return folder


@pytest.mark.parametrize("name", SPEED)
def test_a_benchmark_runs(name: str, model: Path, tmp_path: Path) -> None:
    done = run([str(BENCHMARKS / f"{name}.py"), *SPEED[name].format(model=model, folder=tmp_path).split()])
    assert done.returncode == 0, done.stderr
    assert "|---|" in done.stdout or "not measured" in done.stdout


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs(name: str, model: Path, tmp_path: Path) -> None:
    flags = STUDIES[name].format(model=model, folder=tmp_path).split()
    done = run(["-m", "scumble.bench.studies", name, *flags])
    assert done.returncode == 0 or name == "layer", done.stderr  # random weights pass no gate
    assert "|---|" in done.stdout


def test_studies_are_listed_and_an_unknown_one_is_named() -> None:
    listed = run(["-m", "scumble.bench.studies"])
    assert listed.returncode == 0, listed.stderr
    assert all(f"\n{name} " in f"\n{listed.stdout}" for name in STUDIES)
    unknown = run(["-m", "scumble.bench.studies", "colours"])
    assert unknown.returncode == 2
    assert "colours: there is no such study; known are attention, " in unknown.stderr


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done
