"""The screenshots of docs/page.md, taken anew with Playwright: run `scumble page`, then this with its URL.

python scripts/page_pictures.py http://127.0.0.1:7860/ docs/pictures/page
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1180, "height": 860}
REST = 1000  # ms until everything is drawn
LONGEST = 600_000  # ms


def until(tab: Any, condition: str) -> None:
    """Wait for a JavaScript expression to be true."""
    for _ in range(LONGEST // 50):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise SystemExit(f"{condition}: {tab.inner_text('#error')}")


def take(tab: Any, folder: Path, name: str) -> None:
    """A screenshot of 256 colours."""
    tab.wait_for_timeout(REST)
    file = folder / f"{name}.png"
    tab.screenshot(path=file)
    Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def paint(tab: Any) -> None:
    """Paint a mask over the left half of the example's circle."""
    tab.click("#mask-part > summary")
    tab.click("#mask-draw")
    tab.wait_for_timeout(REST)
    box = tab.locator("#brushed").bounding_box()
    for y in (0.35, 0.42, 0.5, 0.58, 0.65):
        tab.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + y * box["height"])
        tab.mouse.down()
        tab.mouse.move(box["x"] + 0.46 * box["width"], box["y"] + y * box["height"], steps=4)
        tab.mouse.up()


def results(tab: Any, count: int) -> None:
    """Wait until the last of so many results is there, and is shown."""
    until(tab, f"document.querySelectorAll('#history li').length == {count}")
    tab.wait_for_selector("#edit:not([disabled])")


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=unboxed)
        tab = browser.new_page(viewport=SIZE)
        tab.goto(url)
        tab.wait_for_selector("body[data-ready]")
        until(tab, "document.querySelector('#domain').textContent.startsWith('Made for')")
        tab.wait_for_timeout(REST)
        tab.click("#edit")
        results(tab, 1)
        take(tab, folder, "edit")
        paint(tab)
        take(tab, folder, "mask")
        tab.click("#mask-clear")
        tab.click("#mask-part > summary")
        tab.click("#heat")
        results(tab, 2)
        take(tab, folder, "words")
        tab.click("#method-part > summary")
        tab.fill("#target", "a blue circle on a white background\na green circle on a white background")
        tab.click("#several-part > summary")
        tab.fill("#seed", "0-1")
        tab.click("#edit")
        results(tab, 6)
        tab.emulate_media(color_scheme="dark")
        take(tab, folder, "dark")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
