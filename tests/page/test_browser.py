"""The page in a real browser: Debian's chromium, driven by Playwright. Skipped where there is none."""

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.cli import run
from scumble.pictures import reading
from tests.page.browser import choose, download, edit, opened, pixels, until, upload
from tests.page.conftest import Page, Serve
from tests.page.test_client import same_but_for_seconds

pytestmark = pytest.mark.slow


def test_an_upload_is_edited_and_downloaded_as_the_command_line_writes_it(
    tab: Any, png: Path, checkpoint: Path, tmp_path: Path
) -> None:
    upload(tab, png)
    tab.fill("#source", "a red circle")
    tab.fill("#target", "a blue circle")
    choose(tab, "dds", steps=3, guidance=2.5)
    until(tab, "document.querySelector('#command').value.includes('guidance')")
    edit(tab)
    name, data = download(tab)
    assert name == "circle.dds.png"
    line = shlex.split(tab.input_value("#command"))
    assert line[:3] == ["scumble", "edit", "circle.png"]
    out = tmp_path / "out.png"
    assert run(["edit", str(png), *line[3:], "-o", str(out)]) == 0
    same_but_for_seconds(data, out.read_bytes(), tmp_path)


def test_the_slider_cuts_the_result_with_mouse_and_keys(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    edit(tab)
    box = tab.locator("#slider").bounding_box()
    tab.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    cut = float(re.findall(r"([\d.]+)%", tab.evaluate("document.querySelector('#after').style.clipPath"))[0])
    assert abs(cut - 25) < 2
    tab.focus("#slider")
    tab.keyboard.press("ArrowRight")
    assert f"{cut + 0.5:g}%" in tab.evaluate("document.querySelector('#after').style.clipPath")
    until(tab, "document.querySelector('#after').naturalWidth === 256")  # it is fetched late
    tab.click("#zoom")
    assert tab.evaluate("document.querySelector('#before').clientWidth") == 256


def test_a_mask_drawn_with_the_mouse_keeps_all_else(tab: Any, png: Path) -> None:
    upload(tab, png)
    choose(tab, "dds", steps=3, guidance=20)
    tab.evaluate("document.querySelector('#more-part').open = true")
    tab.fill("#keep", "none")
    tab.click("#mask-part > summary")
    tab.fill("#brush", "20")
    tab.click("#mask-draw")
    box = tab.locator("#brushed").bounding_box()
    x, y, width, height = (box[k] for k in ("x", "y", "width", "height"))
    tab.mouse.move(x + 0.1 * width, y + 0.5 * height)
    tab.mouse.down()
    tab.mouse.move(x + 0.4 * width, y + 0.5 * height, steps=5)
    tab.mouse.up()
    assert "only the magenta part may change" in tab.inner_text("#mask-now")
    edit(tab)
    name, mask = download(tab, "#mask-save")
    assert name == "mask.png"
    assert set(np.unique(pixels(mask)[32])) >= {0, 255}
    changed = (pixels(download(tab)[1]) != pixels(png.read_bytes())).any(axis=2)
    assert changed[32, 12:36].mean() > 0.5
    assert not changed[:, 55:].any()
    assert not changed[:10].any()
    tab.click("#mask-undo")
    assert "anything may change" in tab.inner_text("#mask-now")


def test_the_mask_is_erased_inverted_and_uploaded(tab: Any, png: Path) -> None:
    upload(tab, png)
    tab.click("#mask-part > summary")
    tab.click("#mask-invert")
    painted = (
        "(() => { const c = document.querySelector('#brushed');"
        "const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "return data.filter((v, i) => i % 4 == 3 && v > 127).length })()"
    )
    assert tab.evaluate(painted) == 96 * 64
    tab.click("#mask-erase")
    box = tab.locator("#brushed").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert 0 < tab.evaluate(painted) < 96 * 64
    half = Image.new("L", (96, 64))
    half.paste(255, (0, 0, 48, 64))
    half.save(png.with_name("half.png"))
    tab.set_input_files("#mask-file", png.with_name("half.png"))
    until(tab, f"{painted} == {48 * 64}")
    half.resize((10, 10)).save(png.with_name("small.png"))
    tab.set_input_files("#mask-file", png.with_name("small.png"))
    until(tab, "document.querySelector('#error').textContent.includes('10x10 pixels')")
    tab.click("#mask-clear")
    assert tab.evaluate(painted) == 0


def test_an_edit_is_cancelled_on_its_way(tab: Any) -> None:
    choose(tab, "dds", steps=900)
    tab.click("#edit")
    until(tab, "document.querySelector('#status').textContent.includes('of 900')")
    until(tab, "document.querySelector('#after').src.includes('/preview')")
    tab.keyboard.press("Escape")
    until(tab, "document.querySelector('#error').textContent == 'Cancelled.'")
    assert tab.is_disabled("#cancel")
    assert tab.locator("#history li").count() == 0
    tab.fill("#parameter-steps", "2")
    edit(tab)
    assert tab.inner_text("#error") == ""


def test_an_error_is_said_in_the_words_of_the_command_line(tab: Any) -> None:
    tab.fill("#target", "")
    tab.click("#edit")
    until(tab, "document.querySelector('#error').textContent.startsWith('target: empty')")
    assert tab.get_attribute("#error", "role") == "alert"


def test_the_history_reopens_settings_and_survives_a_reload(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    tab.fill("#target", "a green star")
    tab.evaluate("document.querySelector('#several-part').open = true")
    tab.fill("#seed", "7")
    edit(tab)
    tab.fill("#target", "something else")
    choose(tab, "sdedit")
    tab.fill("#seed", "0")
    tab.click("#reopen")
    until(tab, "document.querySelector('#method').value == 'dds'")
    assert tab.input_value("#target") == "a green star"
    assert tab.input_value("#seed") == "7"
    assert tab.input_value("#parameter-steps") == "2"
    tab.reload()
    tab.wait_for_selector("body[data-ready]")
    assert tab.locator("#history li").count() == 1
    tab.click("#history button")
    passport = json.loads(
        tab.inner_text("#passport") or tab.evaluate("document.querySelector('#passport').textContent")
    )
    assert passport["seed"] == 7
    until(tab, "[...document.images].every((image) => image.complete)")  # what is on its way would be gone
    with tab.expect_navigation():
        tab.click("#forget")
    tab.wait_for_selector("body[data-ready]")
    assert tab.locator("#history li").count() == 0


def test_targets_seeds_and_a_sweep_make_a_grid(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    tab.fill("#target", "a blue circle\na green circle")
    tab.evaluate("document.querySelector('#several-part').open = true")
    tab.fill("#seed", "0-1")
    tab.select_option("#over-1", "guidance")
    tab.fill("#values-1", "2, 4")
    tab.click("#edit")
    until(tab, "document.querySelectorAll('#history li').length == 8")
    assert "guidance 4" in tab.inner_text("#history li:first-child")


def test_a_result_is_edited_further(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    edit(tab)
    tab.click("#use")
    until(tab, "document.querySelector('#picture-name').textContent.startsWith('example.dds.png')")
    edit(tab)
    assert download(tab)[0] == "example.dds.dds.png"


def test_layer_changes_and_words_are_shown(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    edit(tab)
    for view, file in {"changed": "changed.png", "layer": "layer.png"}.items():
        tab.click(f"[data-view={view}]")
        until(tab, f"document.querySelector('#other').src.endsWith('{file}')")
        until(tab, "document.querySelector('#other').naturalWidth == 256")
    tab.fill("#source", "a red circle")
    tab.click("#heat")
    until(tab, "document.querySelectorAll('#history li').length == 2")
    tab.wait_for_selector("#edit:not([disabled])")
    assert "Where the model looks" in tab.inner_text("#told")


def test_what_is_typed_stays_when_the_model_has_loaded(chromium: Any, serve: Serve) -> None:
    fresh = serve()
    with opened(chromium) as tab:
        tab.goto(fresh.url)
        tab.wait_for_selector("body[data-ready]")
        choose(tab, "dds", steps=7)
        until(tab, "document.querySelector('#method').options[0].text.includes('(')")
        assert tab.inner_text("#domain").startswith("Made for")
        assert tab.input_value("#method") == "dds"
        assert tab.input_value("#parameter-steps") == "7"
    fresh.close()


def test_the_parameters_are_the_methods_own_and_can_be_reset(tab: Any) -> None:
    choose(tab, "dds", steps=7)
    names = tab.evaluate("[...document.querySelectorAll('[id^=parameter-]')].map((e) => e.id.slice(10))")
    from dataclasses import fields

    from scumble.methods.dds import DDS

    assert set(names) == {f.name for f in fields(DDS)}
    assert names[0] == "steps"
    tab.click("#reset")
    assert tab.input_value("#parameter-steps") == ""


def test_everything_has_a_label(tab: Any) -> None:
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    nameless = tab.evaluate(
        "[...document.querySelectorAll('input, select, textarea, canvas, progress, button, a')]"
        ".filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert tab.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_narrow_screen(tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 700})
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    choose(tab, "dds", steps=2)
    edit(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_photo_of_a_phone_stands_upright_and_is_seen_whole(tab: Any, tmp_path: Path) -> None:
    """It is stored on its side, and higher than the stage."""
    picture, exif = Image.new("RGB", (900, 500), "white"), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.jpg", exif=exif)
    upload(tab, tmp_path / "phone.jpg")
    assert "500x900 pixels" in tab.inner_text("#picture-name")
    until(tab, "document.querySelector('#before').naturalHeight == 900")
    whole = (
        "(() => { const s = document.querySelector('#stage'); return s.scrollHeight <= s.clientHeight })()"
    )
    assert tab.evaluate(whole)
    choose(tab, "dds", steps=2)
    edit(tab)
    assert tab.evaluate(whole)
    assert Image.open(io.BytesIO(download(tab)[1])).size == (500, 900)
    tab.click("#zoom")
    until(tab, "document.querySelector('#after').clientHeight == 900")


def test_a_picture_is_pasted_and_dropped(tab: Any, png: Path) -> None:
    file = (
        "(() => { const d = new DataTransfer();"
        f"const bytes = Uint8Array.from({list(png.read_bytes())});"
        "d.items.add(new File([bytes], 'x.png', {type: 'image/png'})); return d })()"
    )
    tab.evaluate(f"document.dispatchEvent(new ClipboardEvent('paste', {{clipboardData: {file}}}))")
    until(tab, "document.querySelector('#picture-name').textContent.includes('96x64')")
    tab.click("#example")
    until(tab, "document.querySelector('#picture-name').textContent.includes('256x256')")
    tab.evaluate(f"document.dispatchEvent(new DragEvent('drop', {{dataTransfer: {file}, cancelable: true}}))")
    until(tab, "document.querySelector('#picture-name').textContent.includes('96x64')")


def test_who_leaves_stops_what_runs(chromium: Any, page: Page, tab: Any) -> None:
    with opened(chromium) as other:
        other.goto(page.url)
        other.wait_for_selector("body[data-ready]")
        choose(other, "dds", steps=900)
        other.click("#edit")
        until(other, "document.querySelector('#status').textContent.includes('of 900')")
    choose(tab, "dds", steps=2)
    edit(tab)  # it comes after the other one


def test_the_passport_is_in_the_download(tab: Any, tmp_path: Path) -> None:
    choose(tab, "dds", steps=2)
    edit(tab)
    (tmp_path / "a.png").write_bytes(download(tab)[1])
    passport = reading.read_passport(tmp_path / "a.png")
    assert passport
    assert passport["settings"]["steps"] == {"value": 2, "from": "user"}
