"""The picture parser: what it reads off clean and degraded renders, and when it says that it is unsure."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from scumble.scenes import Scene, Thing, full_caption, read, render, scenes
from scumble.scenes.reader import CLEAR, mistakes, read_picture
from scumble.scenes.render import PALETTE, SHAPE, Floats, Pixels
from scumble.scenes.world import BACKGROUNDS, LOOKS, SIZES


def share_right(
    count: int, size: int | tuple[int, int], *, seed: int, things: int | None = None, degraded: bool = False
) -> tuple[float, Counter[str]]:
    """The share of attributes read rightly on held-out scenes, and the wrong ones."""
    wrong: Counter[str] = Counter()
    asked = 0
    rng = np.random.default_rng(seed)
    for scene in islice(scenes("test", seed, things), count):
        pixels = render(scene, size)
        wrong.update(mistakes(scene, read_picture(degrade(pixels, rng) if degraded else pixels).scene))
        asked += 2 + 5 * len(scene.things)
    wrong.pop("count", None)  # its five attributes have been counted
    return 1 - wrong.total() / asked, wrong


def degrade(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A blur of one pixel (standard deviation) and a noise of four levels: 22 to 30 dB."""
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    picture = pixels.astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(picture, [(4, 4) if a == axis else (0, 0) for a in range(3)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 9, axis=axis)
        picture = windows @ (weights / weights.sum())
    return np.clip(np.rint(picture + rng.normal(0, 4, picture.shape)), 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "size", "things"),
    [
        (150, 128, None),
        (30, 128, 3),
        (40, 64, None),
        (40, (96, 160), None),
        (20, 256, None),
        (10, (200, 133), None),
    ],
)
def test_clean_renders_are_read_rightly(count: int, size: int, things: int | None):
    share, wrong = share_right(count, size, seed=7, things=things)
    assert share >= 0.995, wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_clean_renders_are_read_rightly():
    share, wrong = share_right(2000, 128, seed=100)
    assert share >= 0.995, wrong


@pytest.mark.slow
def test_blurred_and_noisy_pictures_are_read_rightly():
    share, wrong = share_right(60, 128, seed=8, degraded=True)
    assert share >= 0.97, wrong


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_picture_has_no_things(background: str, look: str):
    reading = read_picture(render(Scene(things=(), background=background, look=look), 96))
    assert reading.scene == Scene(things=(), background=background, look=look)
    assert reading.residual == 0
    assert reading.clear


def test_offsets_fits_and_residual_are_exact_on_a_clean_render():
    thing = Thing(
        shape="star", colour="cyan", texture="striped", size="small", place="top", dx=0.021, dy=-0.013
    )
    reading = read_picture(render(Scene(things=(thing,), background="brick", look="night"), 128))
    (seen,) = reading.scene.things
    assert replace(seen, dx=thing.dx, dy=thing.dy) == thing
    assert np.hypot(seen.dx - thing.dx, seen.dy - thing.dy) < 0.001
    assert reading.fits[0] > 0.99
    assert reading.residual < 0.5
    assert reading.clear


def test_odd_sizes_places_and_colours_are_read_as_the_nearest_named_ones():
    scene = Scene(
        things=(
            Thing(shape="heart", colour="red", size="medium", place="left", dx=-0.06, dy=0.05),
            Thing(
                shape="square", colour="blue", texture="dotted", size="small", place="right", dx=0.05, dy=0.06
            ),
        ),
        background="sand",
    )
    off = {name: tuple(np.clip(np.add(rgb, (-12, 9, 12)), 0, 255)) for name, rgb in PALETTE.items()}
    for factor in (0.9, 1.12):
        things = tuple(replace(t, radius=SIZES[t.size] * factor) for t in scene.things)
        pixels = render(replace(scene, things=things), 128, palette=off)
        reading = read_picture(pixels)
        assert mistakes(scene, reading.scene) == ()
        assert reading.clear


def test_touching_things_are_told_apart():
    # a gap of less than a pixel between two things of one colour
    ring = Thing(shape="ring", colour="purple", size="large", place="left", dx=-0.0052, dy=-0.0119)
    dotted = Thing(
        shape="circle", colour="purple", texture="dotted", size="small", place="top", dx=-0.0083, dy=-0.0258
    )
    scene = Scene(things=(ring, dotted), background="sand")
    assert mistakes(scene, read_picture(render(scene, 64)).scene) == ()


def _half_disc(x: Floats, y: Floats, r: float) -> Floats:
    return np.maximum(np.hypot(x, y) - 1.2 * r, y)


def _corner(x: Floats, y: Floats, r: float) -> Floats:
    upright = np.maximum(np.abs(x + 0.6 * r) - 0.35 * r, np.abs(y) - r)
    return np.minimum(upright, np.maximum(np.abs(x) - 0.95 * r, np.abs(y - 0.65 * r) - 0.35 * r))


@pytest.mark.parametrize("outline", [_half_disc, _corner])
def test_a_shape_that_is_none_of_the_worlds_is_unclear(outline: object, monkeypatch: pytest.MonkeyPatch):
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),))
    with monkeypatch.context() as patch:
        patch.setitem(SHAPE, "circle", outline)
        pixels = render(scene, 128)
    reading = read_picture(pixels)
    assert not reading.clear
    assert min(reading.fits, default=0.0) < CLEAR


def test_noise_and_a_fourth_thing_are_unclear():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert not read_picture(noise).clear
    corners = tuple(
        Thing(shape="circle", colour="red", size="small", place=place)
        for place in ("left", "right", "top", "bottom")
    )
    reading = read_picture(render(Scene(things=corners), 128))
    assert len(reading.scene.things) == 3
    assert not reading.clear


def test_a_reading_answers_the_caption_of_its_picture():
    for scene in islice(scenes("validation", 3), 10):
        seen = read_picture(render(scene, 128)).scene
        assert read(full_caption(scene)).allows(seen)


def test_mistakes_counts_what_differs_whatever_the_order():
    a, b = Thing(shape="star", colour="red"), Thing(shape="ring", colour="blue", place="left")
    truth = Scene(things=(a, b))
    assert mistakes(truth, Scene(things=(b, a))) == ()
    assert mistakes(truth, Scene(things=(b, replace(a, size="large")), look="night")) == ("look", "size")
    assert Counter(mistakes(truth, Scene(things=(a,))))["shape"] == 2
    assert "count" in mistakes(truth, Scene(things=(a, b, b)))


def test_anything_but_a_picture_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        read_picture(np.zeros((64, 64, 3), np.float32))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="16 px"):
        read_picture(np.zeros((8, 64, 3), np.uint8))
