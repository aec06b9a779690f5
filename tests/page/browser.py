"""What a user does in the page, for tests in a real browser."""

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SOON = 300_000  # ms that anything may take


@contextmanager
def opened(chromium: Any, **options: Any) -> Generator[Any]:
    """A tab of a browser of its own."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, **options)
    context.set_default_timeout(SOON)
    yield context.new_page()
    context.close()


def complaints(tab: Any) -> list[str]:
    """What the console says from now on that is wrong."""
    said = list[str]()
    tab.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    return said


def visit(tab: Any, url: str) -> None:
    """Open a page, and wait until its model is loaded."""
    tab.goto(url)
    tab.wait_for_selector("body[data-ready]")
    until(tab, "document.querySelector('#method').options.length > 5")
    until(tab, "document.querySelector('#domain').textContent.startsWith('Made for')")


def until(tab: Any, condition: str) -> None:
    """Wait for a JavaScript expression to be true. (Playwright's own way needs `eval`, which the page forbids.)"""
    for _ in range(SOON // 50):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"{condition}; the page says: {tab.inner_text('#error')}")


def choose(tab: Any, method: str, **values: object) -> None:
    """A method and some of its parameters."""
    for part in ("#method-part", "#more-parameters"):
        tab.evaluate(f"document.querySelector('{part}').open = true")
    tab.select_option("#method", method)
    for name, value in values.items():
        tab.fill(f"#parameter-{name}", str(value))


def edit(tab: Any) -> None:
    """Press Edit and wait for the result."""
    before = tab.locator("#history li").count()
    tab.click("#edit")
    until(tab, f"document.querySelectorAll('#history li').length > {before}")
    tab.wait_for_selector("#edit:not([disabled])")


def download(tab: Any, button: str = "#download") -> tuple[str, bytes]:
    with tab.expect_download() as waiting:
        tab.click(button)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def upload(tab: Any, png: Path) -> None:
    tab.set_input_files("#file", png)
    until(tab, f"document.querySelector('#picture-name').textContent.startsWith('{png.name}')")


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def unfold(tab: Any) -> None:
    """Open all that is folded away."""
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")


def fetched(tab: Any, path: str) -> bytes:
    """A file of the page's server, as this client gets it."""
    answer = tab.context.request.get(f"{tab.url}{path}")
    assert answer.ok, answer.status
    return answer.body()
