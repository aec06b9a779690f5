"""The documentation is true: its code runs, its commands parse, its links lead somewhere, its messages exist."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """A page's python blocks, each behind as many empty lines as precede it: errors name the page's own lines."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield "\n" * text.count("\n", 0, found.start(1)) + found[1]


@pytest.mark.parametrize("name", ["concepts", "add-a-method"])
def test_code_blocks_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / f"{name}.md"
    module = ModuleType(f"docs_{name.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up by name
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), vars(module))
    for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
        test()
