"""The documentation is true: its code runs, its commands parse, its links lead on, its messages exist."""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PICTURES = ROOT / "docs/pictures"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """A page's python blocks, each behind as many empty lines as precede it: errors name the page's lines."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield "\n" * text.count("\n", 0, found.start(1)) + found[1]


@pytest.mark.parametrize("name", ["concepts", "engine", "add-a-method", "scenes"])
def test_code_blocks_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / f"{name}.md"
    module = ModuleType(f"docs_{name.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up by name
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), vars(module))
    for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
        test()


def test_commands_parse() -> None:
    from typer.main import get_command

    from scumble.cli.app import app

    lines = [line for page in PAGES for line in commands(page)]
    assert len(lines) > 10
    for line in lines:
        _, *words = shlex.split(line)
        parse(get_command(app), words, line)


def commands(page: Path) -> Iterator[str]:
    """The `scumble` command lines of a page's indented blocks, without backslashes, comments and "..."."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for found in re.finditer(r"^    (scumble [^#\n]+)", text, re.MULTILINE):
        yield found[1].replace(" ...", " --source a --target b")


def parse(command: Any, words: list[str], line: str) -> None:
    """Follow the words down to a command without subcommands and let it read its flags; nothing runs."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        command.make_context("scumble", words)
        return
    assert words, line
    assert words[0] in subcommands, line
    parse(subcommands[words[0]], words[1:], line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in path or (not path and not anchor):
            continue
        place = page.parent / path if path else page
        if place.parent == PICTURES and not PICTURES.is_dir():
            continue  # drawn with the built-in weights
        assert place.exists(), f"{page.name}: {link}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (
                link
            )


def test_messages_exist() -> None:
    """What the troubleshooting page quotes is said somewhere in the source."""
    said = "\n".join(
        node.value
        for module in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("## Warnings")[2]
    headings = re.findall(r"^### (`.*)$", page, re.MULTILINE)
    quotes = [quote for heading in headings for quote in re.findall("`([^`-][^`]*)`", heading)]
    assert len(quotes) > 60
    missing = [q for q in quotes if not all(part.strip(" ,") in said for part in q.split("…"))]
    assert not missing
