"""What the form says and takes, in a real browser: models, words, larger results, files that are refused, colours."""

import io
import shlex
import struct
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.cli import run
from scumble.page.options import Limits
from tests.page.browser import (
    choose,
    complaints,
    download,
    edit,
    opened,
    pixels,
    unfold,
    until,
    upload,
    visit,
)
from tests.page.conftest import Page, Serve
from tests.page.test_client import same_but_for_seconds

pytestmark = pytest.mark.slow

CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const page = canvas.getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    page.clearRect(0, 0, 1, 1);
    for (const colour of colours) { page.fillStyle = colour; page.fillRect(0, 0, 1, 1); }
    return [...page.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const said = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!said || e.closest(":disabled") || !e.checkVisibility()) continue;
    const behind = [];
    for (let up = e; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
    const [a, b] = [light(over(behind)), light(over([...behind, getComputedStyle(e).color]))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), a, e.id || e.textContent.slice(0, 30)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def two(serve: Serve, particular: Path) -> Page:
    """A page of two models: one that knows few words and can draw larger, and the tiny one."""
    return serve("--model", str(particular))


@pytest.fixture
def there(chromium: Any, two: Page) -> Generator[Any]:
    """That page, opened; its console must hold no error."""
    with opened(chromium, accept_downloads=True) as tab:
        said = complaints(tab)
        visit(tab, two.url)
        yield tab
        errors = list(said)
    assert errors == []


def test_a_result_is_drawn_larger_as_on_the_command_line(there: Any, png: Path, tmp_path: Path) -> None:
    upload(there, png)
    there.fill("#source", "a red circle")
    there.fill("#target", "a blue circle")
    choose(there, "dds", steps=2)
    unfold(there)
    there.select_option("#upscale", "2")
    until(there, "document.querySelector('#command').value.includes('--upscale 2')")
    edit(there)
    _, data = download(there)
    assert Image.open(io.BytesIO(data)).size == (192, 128)
    until(there, "document.querySelector('#after').naturalWidth == 192")
    line = shlex.split(there.input_value("#command"))
    assert run(["edit", str(png), *line[3:], "-o", str(tmp_path / "out.png")]) == 0
    same_but_for_seconds(data, (tmp_path / "out.png").read_bytes(), tmp_path)


def test_another_model_brings_its_own_form(there: Any, checkpoint: Path) -> None:
    unfold(there)
    choose(there, "dds")
    assert there.inner_text("#domain") == "Made for: circles."
    assert there.inner_text("#words summary") == "It knows 6 words"
    until(there, "document.querySelector('#parameter-guidance').placeholder.startsWith('3.5 (paper: ')")
    assert there.is_visible("#upscale")
    there.select_option("#model", str(checkpoint))
    until(there, "document.querySelector('#domain').textContent.startsWith('The model is loaded with')")
    there.fill("#parameter-steps", "2")
    edit(there)
    until(there, "document.querySelector('#domain').textContent.startsWith('Made for')")
    until(there, "!document.querySelector('#parameter-guidance').placeholder.includes('3.5')")
    assert there.is_hidden("#words")
    assert there.is_hidden("#upscale")


def test_unknown_words_are_marked_while_they_are_typed(there: Any) -> None:
    there.fill("#source", "a red circle")
    there.fill("#target", "")
    there.locator("#target").press_sequentially("a purple cat, a blue circle")
    until(there, "document.querySelector('#unknown').textContent == 'The model does not know: purple, cat'")
    choose(there, "dds", steps=2)
    there.click("#edit")
    until(there, "document.querySelector('#error').textContent.includes('purple')")
    unfold(there)
    there.check("#force")
    edit(there)
    assert there.inner_text("#error") == ""
    there.fill("#target", "a blue star")
    until(there, "document.querySelector('#unknown').textContent == ''")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_texts_can_be_read_in_both_schemes(tab: Any, scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    choose(tab, "dds", steps=1)
    unfold(tab)
    tab.fill("#seed", "0-1")
    tab.click("#edit")
    until(tab, "document.querySelectorAll('#history li').length == 2")
    tab.wait_for_selector("#edit:not([disabled])")
    tab.evaluate(
        "document.querySelector('#error').textContent = 'x'; document.querySelector('#unknown').textContent = 'x'"
    )
    found = tab.evaluate(CONTRASTS)
    assert len(found) > 60
    assert [(name, round(contrast, 2)) for contrast, _, name in found if contrast < 4.5] == []
    behind = [light for _, light, name in found if name != "edit"]
    assert max(behind) < 0.1 if scheme == "dark" else min(behind) > 0.8


def header(side: int) -> bytes:
    """A PNG file of a few bytes that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    said = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", said) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def test_files_that_are_refused_are_said_and_the_page_goes_on(chromium: Any, page: Page, png: Path) -> None:
    with opened(chromium, accept_downloads=True) as tab:
        said = complaints(tab)
        visit(tab, page.url)
        upload(tab, png)
        large = png.with_name("large.png")
        with large.open("wb") as file:
            file.truncate(Limits().bytes + 1)
        wrong = {
            "text.png": b"no picture",
            "huge.png": header(20_000),
            "cut.png": png.read_bytes()[:200],
            "large.png": None,
        }
        messages = [
            "text.png: ",
            "huge.png: 20000x20000 ",
            "cut.png: ",
            "picture: more than 50 MB; make it smaller",
        ]
        for (name, data), message in zip(wrong.items(), messages, strict=True):
            if data is not None:
                png.with_name(name).write_bytes(data)
            tab.set_input_files("#file", png.with_name(name))
            until(tab, f"document.querySelector('#error').textContent.startsWith({message!r})")
            assert tab.inner_text("#picture-name").startswith("circle.png")
        choose(tab, "dds", steps=1)
        edit(tab)
        assert tab.inner_text("#error") == ""
        assert download(tab)[0] == "circle.dds.png"
        assert len(said) == 3  # the browser's own notes of the three that were sent, and nothing of the page
        assert all("422" in each for each in said)


def test_a_mask_of_another_kind_counts_as_on_the_command_line(tab: Any, png: Path) -> None:
    """Red on black: the part that is red may change, in full."""
    upload(tab, png)
    mask = Image.new("RGB", (96, 64))
    mask.paste((255, 0, 0), (0, 0, 48, 64))
    mask.save(png.with_name("red.png"))
    tab.set_input_files("#mask-file", png.with_name("red.png"))
    until(tab, "document.querySelector('#mask-now').textContent == 'only the magenta part may change'")
    until(tab, "document.querySelector('#command').value.includes('--mask red.png')")
    unfold(tab)
    shown = pixels(download(tab, "#mask-save")[1])
    assert (shown[:, :48] == 255).all()
    assert not shown[:, 48:].any()


def test_the_command_line_is_copied_also_where_browsers_have_no_clipboard(tab: Any) -> None:
    """They have none on pages that come from another machine without encryption."""
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    until(tab, "document.querySelector('#command').value.startsWith('scumble edit example.png')")
    command = tab.input_value("#command")
    tab.click("#copy")
    until(tab, "document.querySelector('#copy').textContent == 'Copied'")

    tab.fill("#source", "")
    tab.focus("#source")
    tab.keyboard.press("Control+v")
    assert tab.input_value("#source") == command


def test_a_preview_lies_over_what_was_seen_before(tab: Any, png: Path) -> None:
    """Neither the mask nor another view of the result before covers it."""
    upload(tab, png)
    choose(tab, "dds", steps=1)
    edit(tab)
    tab.click("[data-view=layer]")
    tab.wait_for_selector("#other", state="visible")
    tab.fill("#parameter-steps", "900")
    tab.click("#edit")
    until(tab, "document.querySelector('#after').src.includes('/preview')")
    tab.wait_for_selector("#after", state="visible")  # the preview is fetched late
    assert [tab.is_visible(each) for each in ("#other", "#slider")] == [False, False]
    tab.keyboard.press("Escape")
    until(tab, "document.querySelector('#error').textContent == 'Cancelled.'")
    tab.wait_for_selector("#other", state="visible")
    tab.click("#mask-part > summary")
    tab.click("#mask-invert")
    tab.click("#mask-draw")
    tab.click("#edit")
    until(tab, "document.querySelector('#after').src.includes('/preview')")
    until(tab, "!document.querySelector('#after').hidden")
    assert tab.is_hidden("#brushed")
    tab.keyboard.press("Escape")
    until(tab, "document.querySelector('#error').textContent == 'Cancelled.'")
    tab.wait_for_selector("#brushed", state="visible")


def test_a_page_with_a_password_edits_like_any_other(chromium: Any, serve: Serve) -> None:
    """The browser sends it with every picture and every event."""
    guarded = serve("--password", "correct horse")
    with opened(chromium, http_credentials={"username": "x", "password": "correct horse"}) as tab:
        said = complaints(tab)
        visit(tab, guarded.url)
        choose(tab, "dds", steps=2)
        edit(tab)
        until(tab, "document.querySelector('#after').naturalWidth == 256")
        assert [each for each in said if "401" not in each] == []
    guarded.close()
