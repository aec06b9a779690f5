"""Several results in a real browser: grids, sweeps, zip files, kept inversions, masks that a method found."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.page.browser import choose, download, edit, fetched, pixels, unfold, until, upload

pytestmark = pytest.mark.slow

GRID = "document.querySelector('#grid')"


def ask_for(tab: Any, results: int) -> None:
    """Press Edit and wait for so many new results."""
    before = tab.locator("#history li").count()
    tab.click("#edit")
    until(tab, f"document.querySelectorAll('#history li').length == {before + results}")
    tab.wait_for_selector("#edit:not([disabled])")


def passport(png: bytes) -> dict[str, Any]:
    return json.loads(Image.open(io.BytesIO(png)).info["scumble"])


def cells(tab: Any) -> list[list[dict[str, Any]]]:
    """What each row of the grid shows: the passports of its pictures."""
    rows = tab.evaluate(
        f"[...{GRID}.tBodies[0].rows].map((row) => [...row.querySelectorAll('img')].map((i) => i.getAttribute('src')))"
    )
    return [[passport(fetched(tab, path)) for path in row] for row in rows]


def headings(tab: Any, scope: str) -> list[str]:
    return tab.locator(f"#grid th[scope={scope}]").all_inner_texts()


def test_a_sweep_of_two_values_is_a_grid_and_a_zip_file(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    unfold(tab)
    tab.fill("#parameter-steps", "")
    for k, (name, values) in enumerate({"guidance": "2, 40", "steps": "1, 3"}.items(), 1):
        tab.select_option(f"#over-{k}", name)
        tab.fill(f"#values-{k}", values)
    until(tab, "document.querySelector('#command').value.startsWith('scumble sweep')")
    ask_for(tab, 4)
    assert headings(tab, "row") == ["guidance 2", "guidance 40"]
    assert headings(tab, "col") == ["steps 1", "steps 3"]
    swept = [
        [(c["settings"]["guidance"]["value"], c["settings"]["steps"]["value"]) for c in row]
        for row in cells(tab)
    ]
    assert swept == [[(2, 1), (2, 3)], [(40, 1), (40, 3)]]
    assert tab.is_hidden("#frame")
    tab.click("#grid tr:nth-child(2) td:nth-child(3) button")
    assert tab.is_hidden("#grid")
    name, data = download(tab)
    assert [passport(data)["settings"][key]["value"] for key in ("guidance", "steps")] == [40, 3]
    _, packed = download(tab, "#all")
    files = zipfile.ZipFile(io.BytesIO(packed))
    ids = [result["id"] for result in json.loads(fetched(tab, "api/results"))]
    every = {fetched(tab, f"api/results/{id}/result.png") for id in ids}
    assert {files.read(each) for each in files.namelist()} == every
    assert len(every) == len(files.namelist()) == 4
    assert files.read(name) == data


def test_targets_are_rows_and_seeds_are_columns(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    unfold(tab)
    tab.fill("#target", "a blue circle\na green star")
    tab.fill("#seed", "3, 5, 8")
    ask_for(tab, 6)
    assert headings(tab, "row") == ['"a blue circle"', '"a green star"']
    assert headings(tab, "col") == ["seed 3", "seed 5", "seed 8"]
    shown = [[(cell["target"], cell["seed"]) for cell in row] for row in cells(tab)]
    assert shown == [[(target, seed) for seed in (3, 5, 8)] for target in ("a blue circle", "a green star")]
    tab.focus("#grid tr:nth-child(2) td:nth-child(3) button")
    tab.keyboard.press("Enter")
    assert '"a green star" by dds, seed 5' in tab.inner_text("#told")
    assert tab.evaluate("document.activeElement.id") == "slider"
    tab.click("[data-view=grid]")
    tab.wait_for_selector("#grid", state="visible")
    tab.fill("#target", "a blue circle")
    tab.fill("#seed", "0")
    edit(tab)
    assert tab.is_hidden("#grid")
    assert tab.is_disabled("[data-view=grid]")
    tab.click("#history li:last-child button")  # the first of the six
    tab.wait_for_selector("#after", state="visible")
    tab.click("[data-view=grid]")
    assert tab.locator("#grid td button").count() == 6


def test_methods_that_lack_a_swept_value_stand_under_each_of_its_values(tab: Any) -> None:
    unfold(tab)
    tab.select_option("#over-1", "method")
    tab.fill("#values-1", "dds, sdedit")
    tab.select_option("#over-2", "t_low")
    tab.fill("#values-2", "50, 60")
    tab.select_option("#method", "dds")
    ask_for(tab, 3)
    assert [[cell["method"] for cell in row] for row in cells(tab)] == [["dds", "dds"], ["sdedit", "sdedit"]]


def test_what_is_edited_further_is_the_result_itself(tab: Any, png: Path) -> None:
    upload(tab, png)
    choose(tab, "dds", steps=3, guidance=20)
    edit(tab)
    _, first = download(tab)
    tab.click("#use")
    until(tab, "document.querySelector('#picture-name').textContent.startsWith('circle.dds.png')")
    edit(tab)
    _, second = download(tab)
    assert passport(second)["input"]["sha256"] == hashlib.sha256(first).hexdigest()
    assert passport(first)["input"]["sha256"] == hashlib.sha256(png.read_bytes()).hexdigest()
    before = tab.get_attribute("#before", "src")
    assert (pixels(fetched(tab, before)) == pixels(first)).all()


def test_an_inversion_is_kept_for_the_picture(tab: Any, png: Path) -> None:
    upload(tab, png)
    choose(tab, "sdedit")
    assert tab.is_hidden("#invert-part")
    choose(tab, "p2p", steps=6)
    tab.fill("#source", "a red circle")
    tab.check("#invert")
    until(tab, "document.querySelector('#command').value.includes('scumble invert')")
    made = list[dict[str, Any]]()
    for target in ("a blue circle", "a red star"):
        tab.fill("#target", target)
        edit(tab)
        made.append(passport(download(tab)[1]))
    tab.uncheck("#invert")
    edit(tab)
    made.append(passport(download(tab)[1]))
    first, second, without = (one["given"] for one in made)
    assert first["inversion"] == second["inversion"]
    assert "inversion" not in without


def test_the_mask_that_a_method_found_is_shown_and_used_again(tab: Any, png: Path) -> None:
    upload(tab, png)
    tab.fill("#source", "a red circle")
    tab.fill("#target", "a blue star")
    choose(tab, "diffedit", steps=4, draws=2)
    edit(tab)
    tab.click("[data-view=mask]")
    until(tab, "document.querySelector('#other').naturalWidth == 96")
    assert "white may change" in tab.get_attribute("#other", "alt")
    found = pixels(fetched(tab, tab.get_attribute("#other", "src")))
    assert 0 < (found > 127).mean() < 1
    tab.click("#use-mask")
    until(tab, "document.querySelector('#mask-now').textContent == 'only the magenta part may change'")
    tab.wait_for_selector("#brushed", state="visible")
    assert tab.is_hidden("#about")  # it is the picture that is shown, not the result
    unfold(tab)
    tab.fill("#keep", "none")
    choose(tab, "dds", steps=3, guidance=20)
    tab.fill("#parameter-t_low", "")
    assert abs(pixels(download(tab, "#mask-save")[1]) - found).max() <= 1
    edit(tab)
    changed = (pixels(download(tab)[1]) != pixels(png.read_bytes())).any(axis=2)
    assert changed.any()
    assert not changed[found[..., 0] == 0].any()
