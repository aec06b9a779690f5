"""Answers that come late, fail in passing or overtake each other must not undo what the user does meanwhile."""

import io
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.page.client import PageClient
from tests.page.browser import choose, download, edit, opened, until, upload
from tests.page.conftest import Page

pytestmark = pytest.mark.slow

COMMAND = "document.querySelector('#command')"
Patch = Callable[[Any], Any]


class Held:
    """Requests of a kind, held back until `release`; one comes to the server only then. The first `most` alone."""

    def __init__(self, tab: Any, pattern: str, most: int = 9):
        self.tab, self.most, self.routes = tab, most, list[Any]()
        tab.route(pattern, lambda route: self._take(route))

    def _take(self, route: Any) -> None:
        if len(self.routes) == self.most:
            route.continue_()
        else:
            self.routes.append(route)

    def come(self, count: int = 1) -> None:
        """Wait until so many are held."""
        while len(self.routes) < count:
            self.tab.wait_for_timeout(20)

    def release(self, which: int = 0) -> None:
        """Let one go on, and wait for its answer to arrive."""
        route = self.routes[which]
        with self.tab.expect_response(lambda response: response.request == route.request):
            route.continue_()


@pytest.fixture
def fresh(chromium: Any, page: Page) -> Generator[Any]:
    """A tab that has not opened the page yet, and whose console may complain."""
    with opened(chromium, accept_downloads=True) as tab:
        yield tab
        tab.unroute_all()
        tab.evaluate("fetch('api/client', {method: 'DELETE'})")


def start(tab: Any, page: Page) -> None:
    tab.goto(page.url)
    tab.wait_for_selector("body[data-ready]")


def failing(tab: Any, pattern: str, times: int = 1) -> list[str]:
    """The first requests of a kind fail on their way; the list of those that did."""
    failed = list[str]()

    def first(route: Any) -> None:
        if len(failed) < times:
            failed.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    tab.route(pattern, first)
    return failed


def still_loading(about: Any) -> Any:
    """What the page is told while its model is being loaded."""
    first = {"name": about["models"][0]["name"], "loaded": False, "loading": True, "message": ""}
    return {**about, "models": [first]}


def same(told: Any) -> Any:
    return told


def other(told: Any) -> Any:
    """The methods as another model might have them: a parameter more, other bounds, another order."""
    for method in told:
        guidance = next((p for p in method["parameters"] if p["name"] == "guidance"), None)
        if guidance:
            rest = [p for p in method["parameters"] if p is not guidance]
            new = {**guidance, "name": "new", "help": "new"}
            method["parameters"] = [new, {**guidance, "max": 1000, "help": "other"}, *rest]
    return told


@pytest.mark.parametrize("patch", [same, other])
def test_who_types_while_the_model_gets_ready_is_not_disturbed(
    fresh: Any, page: Page, client: PageClient, patch: Patch
) -> None:
    tab, loading = fresh, [True]
    about, methods = client.ask("GET", "/api"), client.ask("GET", "/api/methods")
    tab.route("**/api", lambda route: route.fulfill(json=still_loading(about) if loading else about))
    start(tab, page)
    tab.wait_for_selector("#method option[value=dds]", state="attached")
    choose(tab, "dds", steps=3)
    tab.evaluate("document.querySelector('#several-part').open = true")
    tab.select_option("#over-1", "steps")
    tab.fill("#source", "a red circle")
    tab.click("#parameter-guidance")
    tab.keyboard.type("25")
    tab.keyboard.press("ArrowLeft")
    held = Held(tab, "**/api/methods*")
    loading.clear()
    held.come()
    held.routes[0].fulfill(json=patch(methods))
    until(tab, "document.querySelector('#method').options[0].text.includes('(')")
    assert tab.evaluate("document.activeElement.id") == "parameter-guidance"
    tab.keyboard.type(".")
    assert tab.input_value("#parameter-guidance") == "2.5"
    assert tab.input_value("#parameter-steps") == "3"
    assert tab.input_value("#over-1") == "steps"
    assert (tab.locator("#parameter-new").count() == 1) == (patch is other)


def test_a_look_at_the_models_that_fails_is_taken_again(fresh: Any, page: Page, client: PageClient) -> None:
    about, looks = client.ask("GET", "/api"), list[Any]()

    def answer(route: Any) -> None:
        looks.append(route)
        if len(looks) == 2:
            route.abort()
        else:
            route.fulfill(json=still_loading(about) if len(looks) == 1 else about)

    fresh.route("**/api", answer)
    start(fresh, page)
    until(fresh, "document.querySelector('#domain').textContent.startsWith('Made for')")
    assert len(looks) == 3


def test_a_check_that_fails_is_asked_again(fresh: Any, page: Page) -> None:
    failed = failing(fresh, "**/api/check")
    start(fresh, page)
    until(fresh, f"{COMMAND}.value.startsWith('scumble edit example.png')")
    assert len(failed) == 1


def test_a_check_that_is_overtaken_counts_no_more(tab: Any) -> None:
    held = Held(tab, "**/api/check")
    tab.fill("#target", "the first")
    held.come()
    tab.fill("#target", "the second")
    held.come(2)
    held.release(1)
    until(tab, f"{COMMAND}.value.includes('the second')")
    held.release(0)
    tab.evaluate("new Promise((done) => { setTimeout(done) })")
    assert "the second" in tab.input_value("#command")
    assert tab.get_attribute("#command", "aria-busy") == "false"


def test_a_mask_has_the_shape_of_the_picture_before_the_picture_arrives(tab: Any, png: Path) -> None:
    held = Held(tab, "**/api/pictures/*", most=1)
    upload(tab, png)
    held.come()
    tab.click("#mask-part > summary")
    tab.click("#mask-draw")
    box = tab.locator("#brushed").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(96 / 64, abs=0.01)
    held.release()


def test_a_stroke_that_is_drawn_while_the_mask_is_uploaded_counts(tab: Any, png: Path, page: Page) -> None:
    upload(tab, png)
    choose(tab, "dds", steps=2)
    tab.click("#mask-part > summary")
    tab.click("#mask-draw")
    box = tab.locator("#brushed").bounding_box()
    held, sent = Held(tab, "**/api/pictures?name=mask.png", most=1), list[Any]()
    tab.on("request", lambda request: sent.append(request) if request.url.endswith("/api/edits") else None)
    tab.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    held.come()
    tab.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
    held.release()
    edit(tab)
    used = tab.context.request.get(f"{page.url}api/pictures/{sent[0].post_data_json['mask']}").body()
    mask = Image.open(io.BytesIO(used)).convert("L")
    assert (mask.getpixel((19, 32)), mask.getpixel((48, 32)), mask.getpixel((77, 32))) == (255, 0, 255)
    masks = "fetch('api/pictures').then((a) => a.json()).then((all) => all.filter((p) => p.name == 'mask.png').length)"
    until(tab, f"{masks}.then((count) => count == 1)")  # the one that nothing was made with is deleted


def test_an_edit_is_sent_once_and_can_be_cancelled_on_its_way(tab: Any) -> None:
    choose(tab, "dds", steps=2)
    held = Held(tab, "**/api/edits")
    tab.focus("#target")
    tab.keyboard.press("Control+Enter")
    tab.keyboard.press("Control+Enter")
    held.come()
    held.release()
    tab.wait_for_selector("#edit:not([disabled])")
    assert len(held.routes) == 1
    assert tab.locator("#history li").count() == 1
    choose(tab, "dds", steps=900)
    tab.keyboard.press("Control+Enter")
    held.come(2)
    tab.keyboard.press("Escape")
    held.release(1)
    until(tab, "document.querySelector('#error').textContent == 'Cancelled.'")
    assert tab.locator("#history li").count() == 1


def test_an_edit_waits_for_the_picture_and_the_newest_one_counts(tab: Any, png: Path) -> None:
    choose(tab, "dds", steps=2)
    held = Held(tab, "**/api/pictures?name=*")
    tab.set_input_files("#file", png)
    tab.click("#edit")
    held.come()
    held.release()
    tab.wait_for_selector("#edit:not([disabled])")
    assert download(tab)[0] == "circle.dds.png"
    for name in ("old.png", "new.png"):
        png.rename(png.with_name(name))
        png = png.with_name(name)
        tab.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": png.read_bytes()})
    held.come(3)
    held.release(2)
    until(tab, "document.querySelector('#picture-name').textContent.startsWith('new.png')")
    held.release(1)
    tab.evaluate("new Promise((done) => { setTimeout(done) })")
    assert tab.inner_text("#picture-name").startswith("new.png")


def test_an_example_that_comes_late_replaces_nothing(fresh: Any, page: Page, png: Path) -> None:
    held = Held(fresh, "**/api/example")
    fresh.goto(page.url)
    held.come()
    fresh.fill("#source", "a red circle")
    upload(fresh, png)
    held.release()
    fresh.wait_for_selector("body[data-ready]")
    assert fresh.inner_text("#picture-name").startswith("circle.png")
    assert fresh.input_value("#source") == "a red circle"
    assert fresh.input_value("#target") == ""


def test_a_connection_that_breaks_is_made_again(fresh: Any, page: Page) -> None:
    start(fresh, page)
    failed = failing(fresh, "**/events", times=2)
    choose(fresh, "dds", steps=2)
    edit(fresh)
    assert len(failed) == 2
    assert fresh.inner_text("#error") == ""


def test_previews_do_not_cover_what_the_user_looks_at(tab: Any) -> None:
    choose(tab, "dds", steps=900)
    tab.click("#edit")
    until(tab, "document.querySelector('#after').src.includes('/preview')")
    tab.click("#mask-part > summary")
    tab.click("#mask-draw")
    before = tab.inner_text("#status")
    until(tab, f"document.querySelector('#status').textContent != {before!r}")
    assert tab.is_hidden("#after")
    assert tab.is_visible("#brushed")
    tab.keyboard.press("Escape")
    until(tab, "document.querySelector('#error').textContent == 'Cancelled.'")
    assert tab.is_visible("#brushed")
