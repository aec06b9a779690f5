"""The wide world: exact values that go by names, and captions that say only what is beyond doubt."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from scumble.scenes import Scene, Thing, caption, full_caption, generator, mask_of, read, read_picture, render
from scumble.scenes.edits import change
from scumble.scenes.reader import mistakes
from scumble.scenes.wide import LARGEST, SMALLEST, WIDEST, random_aspect, wide_scenes, with_names
from scumble.scenes.world import BACKGROUNDS, CELLS, GROUNDS, HELD_OUT, fits
from scumble.train.data import SIDE, fitted

RED = Thing(shape="circle", colour="red")


def drawn(count: int, split: str = "train") -> list[tuple[Scene, float]]:
    return list(islice(wide_scenes(split, 0), count))  # pyright: ignore[reportArgumentType]


def test_sizes_places_and_pictures_are_continuous():
    scenes = drawn(400)
    radii = [t.extent for scene, _ in scenes for t in scene.things]
    assert min(radii) < 0.1
    assert max(radii) > 0.3
    assert all(SMALLEST <= r <= LARGEST for r in radii)
    assert len({round(a, 3) for _, a in scenes}) > 100
    assert all(1 / WIDEST <= a <= WIDEST for _, a in scenes)
    assert {scene.background for scene, _ in scenes} == set(GROUNDS)
    assert {t.place for scene, _ in scenes for t in scene.things} == set(CELLS)


def test_things_stand_apart_and_inside_the_picture():
    for scene, aspect in drawn(200):
        assert fits(scene.things, aspect)
        size = fitted(aspect, 200)
        for thing in scene.things:
            edge = mask_of(thing, size)
            assert max(edge[0].max(), edge[-1].max(), edge[:, 0].max(), edge[:, -1].max()) == 0


def test_held_out_pairs_are_not_trained_on():
    assert not {(t.colour, t.shape) for scene, _ in drawn(600) for t in scene.things} & HELD_OUT


def test_captions_are_true_and_say_nothing_vague():
    rng = generator("validation", 3)
    for scene, _ in drawn(600, "validation"):
        for text in (caption(scene, rng), full_caption(scene)):
            wanted = read(text)
            assert wanted.allows(scene), text
        for said, thing in zip(read(full_caption(scene)).things, scene.things, strict=True):
            assert not set(said.named) & set(thing.vague)


@pytest.mark.parametrize(
    ("centre", "aspect", "place", "vague"),
    [
        ((0.5, 0.5), 1.0, "centre", False),
        ((0.2, 0.8), 1.0, "bottom left", False),
        ((0.37, 0.5), 1.0, "left", True),  # as near to the middle
        ((1.5, 0.2), 3.0, "top", True),  # on a square canvas it stands in the middle
        ((2.6, 0.5), 3.0, "right", False),
    ],
)
def test_places_are_named_on_the_picture_where_the_canvas_agrees(
    centre: tuple[float, float], aspect: float, place: str, vague: bool
):
    thing = with_names(replace(RED, radius=0.15), centre, aspect)
    assert thing.place == place
    assert ("place" in thing.vague) == vague
    assert thing.centre(aspect) == pytest.approx(centre, abs=1e-3)


def test_exact_values_show():
    scene = Scene(things=(RED,), background="sky")
    picture = render(scene)
    for thing in (
        replace(RED, radius=0.2),
        replace(RED, paint=(200, 0, 0)),
        replace(RED, outline=0.02),
        replace(RED, texture="striped"),
    ):
        assert (render(replace(scene, things=(thing,))) != picture).any()
    square = Scene(things=(replace(RED, shape="square", texture="dotted"),))
    turned = replace(square, things=(replace(square.things[0], turn=10.0),))
    coarse = replace(square, things=(replace(square.things[0], grain=0.15),))
    assert (render(square) != render(turned)).any()
    assert (render(square) != render(coarse)).any()
    assert tuple(render(replace(scene, ground=((1, 2, 3), (1, 2, 3))))[0, 0]) == (1, 2, 3)
    hard = render(Scene(things=(RED,), background="white", hard=True))
    assert len(np.unique(hard.reshape(-1, 3), axis=0)) == 2


def test_an_edit_gives_the_changed_attribute_its_canonical_value():
    rng = generator("train", 9)
    thing = replace(RED, paint=(200, 0, 0), radius=0.17)
    scene = Scene(things=(thing,), background="white", ground=((240, 240, 240),))
    for kind, gone, stays in (("recolour", "paint", "radius"), ("resize", "radius", "paint")):
        edit = change(scene, kind, rng)
        assert edit is not None
        after = edit.targets[0]
        assert getattr(after.things[0], gone) is None
        assert getattr(after.things[0], stays) == getattr(thing, stays)
        assert after.ground == scene.ground
    edit = change(scene, "background", rng)
    assert edit is not None
    assert edit.targets[0].ground == ()


@pytest.mark.slow
def test_the_reader_reads_most_of_the_wide_world():
    wrong, asked = 0, 0
    for scene, aspect in drawn(40, "validation"):
        wrong += len(mistakes(scene, read_picture(render(scene, fitted(aspect, SIDE)), CELLS).scene))
        asked += 2 + 5 * len(scene.things)
    assert wrong / asked < 0.1


def test_night_falls_on_canonical_backgrounds_only():
    assert all(s.look == "day" for s, _ in drawn(400) if s.background not in BACKGROUNDS)


def test_aspects_come_either_way_up():
    rng = generator("train", 2)
    aspects = [random_aspect(rng) for _ in range(300)]
    assert 60 < sum(a > 1 for a in aspects) < 140
    assert 60 < sum(a < 1 for a in aspects) < 140
