"""What start-up imports. How long it takes is a benchmark: benchmarks/startup.py."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {"pillow": "PIL"}  # where a package's module has another name
REQUIRED = [re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]]
HEAVY = {MODULES.get(name, name) for name in REQUIRED} - {"rich", "typer"} | {
    "matplotlib",
    "starlette",
    "uvicorn",
}
STARTS = {
    "import": "import scumble, scumble.api, scumble.cli.app",
    "version": "from scumble.cli import run; run(['--version'])",
    "help": "from scumble.cli import run; run(['--help'])",
    "help of edit": "from scumble.cli import run; run(['edit', '--help'])",
    "help of page": "from scumble.cli import run; run(['page', '--help'])",
}


def imported(code: str) -> set[str]:
    """Every module that an interpreter has imported after `code`."""
    code += "\nimport sys; print('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.rpartition("modules:")[2].split())


def test_the_heavy_packages_are_known() -> None:
    assert {"torch", "numpy", "PIL", "diffusers", "transformers", "accelerate"} <= HEAVY


@pytest.mark.parametrize("start", STARTS)
def test_start_up_imports_typer_and_rich_alone(start: str) -> None:
    modules = imported(STARTS[start])
    assert "scumble" in modules
    assert modules & HEAVY == set()


def test_a_missing_picture_is_refused_before_torch_is_imported() -> None:
    code = "from scumble.cli import run; assert run(['edit', 'missing.png', '--target', 'x']) == 2"
    assert imported(code) & HEAVY <= {"numpy", "PIL"}
