"""The documentation is true: its code runs, its commands parse, its links lead on, its messages exist."""

import ast
import re
import shlex
import sys
import tomllib
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["concepts", "engine", "add-a-method", "scenes", "directions"])
def test_code_blocks_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / f"{name}.md"
    module = ModuleType(f"docs_{name.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up by name
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), vars(module))
    for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
        test()


@pytest.mark.slow
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


def source() -> Iterator[ast.AST]:
    for module in (ROOT / "src").rglob("*.py"):
        yield from ast.walk(ast.parse(module.read_text(encoding="utf-8")))


def quotes() -> list[str]:
    """What the headings of the troubleshooting page quote; … stands for names and numbers."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("## Warnings")[2]
    headings = re.findall(r"^### (`.*)$", page, re.MULTILINE)
    found = [quote for heading in headings for quote in re.findall("`([^`]*)`", heading)]
    return [quote for quote in found if not re.fullmatch(r"-\S*", quote)]  # options that a message goes with


def says(text: str, quote: str) -> bool:
    return all(part.strip(" ,") in text for part in quote.split("…"))


def test_messages_exist() -> None:
    """What the troubleshooting page quotes is said somewhere in the source."""
    strings = (node.value for node in source() if isinstance(node, ast.Constant))
    said = "\n".join(value for value in strings if isinstance(value, str))
    assert len(quotes()) > 60
    assert not [quote for quote in quotes() if not says(said, quote)]


def test_messages_have_headings() -> None:
    """Every error in the source is quoted, but for those that are put together of parts said elsewhere."""
    documented, lost = quotes(), list[str]()
    for node in source():
        match node:
            case ast.Call(func=ast.Name("InputError" | "MachineError"), args=[message, *_]):
                parts = message.values if isinstance(message, ast.JoinedStr) else [message]
                text = "…".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
                if len(re.findall("[a-z]+", text)) > 3 and not any(says(text, quote) for quote in documented):
                    lost.append(text)
    assert not lost


def test_the_reference_is_complete() -> None:
    """It names all that `scumble` offers, every variable of the environment, and every extra."""
    import scumble

    named = set(re.findall(r"`([\w.-]+)", (ROOT / "docs/reference.md").read_text(encoding="utf-8")))
    assert set(scumble.__all__) - named == set()
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert set(re.findall(r"\bSCUMBLE_[A-Z_]+", code)) - named == set()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert set(extras) - named == set()
