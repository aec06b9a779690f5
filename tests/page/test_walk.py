"""The page as somebody uses it who has no mouse, or corrects an error."""

from typing import Any

import pytest

from tests.page.browser import choose, edit, until

pytestmark = pytest.mark.slow

FOCUS = "document.activeElement.id"
OUTLINED = "getComputedStyle(document.querySelector('{}')).outlineStyle != 'none'"


def test_the_keyboard_alone_is_enough(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    tab.focus("#example")
    tab.keyboard.press("Shift+Tab")
    assert tab.evaluate(FOCUS) == "file"
    assert tab.evaluate(OUTLINED.format("label[for=file]"))
    assert not tab.evaluate(OUTLINED.format("#example"))
    order = list[str]()
    for _ in range(5):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate(FOCUS))
    assert order == ["example", "source", "target", "edit", "heat"]
    tab.focus("#edit")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('#history li').length == 1")
    tab.wait_for_selector("#edit:not([disabled])")
    assert tab.evaluate(FOCUS) == "edit"
    tab.focus("#several-part > summary")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate(FOCUS) == "seed"
    tab.keyboard.press("Control+a")
    tab.keyboard.type("5")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('#history li').length == 2")
    assert "seed 5" in tab.inner_text("#told")
    tab.wait_for_selector("#edit:not([disabled])")
    tab.focus("#history li:last-child button")
    tab.keyboard.press("Enter")
    assert "seed 0" in tab.inner_text("#told")


def test_an_error_is_corrected(tab: Any) -> None:
    """The field that is wrong may be folded away: the server's message is shown, not the browser's."""
    choose(tab, "dds", steps=0)
    tab.click("#method-part > summary")
    tab.click("#edit")
    until(tab, "document.querySelector('#error').textContent.includes('steps: 0')")
    tab.set_viewport_size({"width": 390, "height": 500})
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    tab.focus("#seed")
    tab.fill("#seed", "x")
    tab.keyboard.press("Control+Enter")
    until(tab, "document.querySelector('#error').textContent.startsWith('seed: x')")
    box = tab.locator("#error").bounding_box()
    assert 0 <= box["y"] <= 500 - box["height"]
    tab.fill("#seed", "0")
    choose(tab, "dds", steps=2)
    edit(tab)
    assert tab.inner_text("#error") == ""
