"""The scenes world: its laws, its pictures, its words, its edits."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from scumble.scenes import (
    KINDS,
    WORDS,
    Scene,
    Thing,
    caption,
    edits,
    full_caption,
    generator,
    mask_of,
    random_edit,
    random_scene,
    read,
    render,
    scenes,
    short_caption,
    unknown_words,
)
from scumble.scenes.grammar import words_of
from scumble.scenes.render import SHAPE
from scumble.scenes.world import BACKGROUNDS, COLOURS, HELD_OUT, PLACES, SHAPES, SIZES, TEXTURES, fits


def drawn(count: int, split: str = "train", things: int | None = None) -> list[Scene]:
    return list(islice(scenes(split, 0, things), count))  # pyright: ignore[reportArgumentType]


def test_the_world_has_what_was_promised():
    assert {"circle", "square", "triangle", "star"} <= set(SHAPES)
    assert len(SHAPES) >= 8
    assert {"red", "green", "blue", "yellow"} <= set(COLOURS)
    assert len(COLOURS) == 8
    assert set(TEXTURES) == {"plain", "striped", "dotted"}
    assert len(SIZES) == 3
    assert set(PLACES) == {"left", "right", "top", "bottom", "centre"}
    assert {"white", "black", "sky", "brick"} <= set(BACKGROUNDS)
    assert len(BACKGROUNDS) >= 6


@pytest.mark.parametrize("things", [1, 2, 3])
def test_things_do_not_overlap(things: int):
    for scene in drawn(50, things=things):
        assert len(scene.things) == things
        covers = [mask_of(t, 96) for t in scene.things]
        assert float(np.sum(covers, 0).max()) <= 1


def test_splits_differ_and_repeat():
    assert drawn(5) == drawn(5)
    firsts = [next(scenes(split, 0)) for split in ("train", "validation", "test")]
    assert len(set(firsts)) == 3


def test_held_out_pairs_occur_in_test_alone():
    def pairs(split: str) -> set[tuple[str, str]]:
        return {(t.colour, t.shape) for scene in drawn(1500, split) for t in scene.things}

    assert not pairs("train") & HELD_OUT
    assert pairs("test") >= HELD_OUT


def test_pictures_are_deterministic_and_change_with_every_attribute():
    thing = Thing(shape="star", colour="red", texture="plain", size="medium", place="centre")
    scene = Scene(things=(thing,), background="sky")
    picture = render(scene)
    assert picture.dtype == np.uint8
    assert picture.shape == (128, 128, 3)
    assert (picture == render(scene)).all()
    others = [
        replace(scene, background="brick"),
        replace(scene, look="night"),
        *(
            replace(scene, things=(replace(thing, **{name: value}),))
            for name, value in {
                "shape": "ring",
                "colour": "blue",
                "texture": "dotted",
                "size": "large",
                "place": "left",
                "dx": 0.02,
            }.items()
        ),
    ]
    for other in others:
        assert (render(other) != picture).any()


@pytest.mark.parametrize("size", [64, 512, (96, 160), (160, 96)])
def test_any_size_and_aspect_shows_the_same_scene(size: int | tuple[int, int]):
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),))
    picture = render(scene, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert picture.shape == (height, width, 3)
    assert tuple(picture[height // 2, width // 2]) == COLOURS["red"]
    red = (picture[..., 1] < 128).sum() / min(height, width) ** 2
    assert red == pytest.approx(np.pi * SIZES["large"] ** 2, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_anti_aliased_and_areas_agree_across_sizes(shape: str):
    thing = Thing(shape=shape, colour="red", size="large", dx=0.006, dy=0.004)  # off the pixel grid
    small, large = mask_of(thing, 64), mask_of(thing, 512)
    assert ((small > 0.05) & (small < 0.95)).any()
    assert small.mean() == pytest.approx(large.mean(), rel=0.03)
    assert SHAPE[shape](np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), 10.0).shape == (1, 1)


def test_a_thing_stays_within_its_reach():
    for shape in SHAPES:
        thing = Thing(shape=shape, colour="red", size="large")
        y, x = np.nonzero(mask_of(thing, 512) > 0.5)
        farthest = np.hypot(x + 0.5 - 256, y + 0.5 - 256).max() / 512
        assert farthest <= thing.reach + 1 / 512
        assert farthest > 0.9 * thing.reach


def test_a_side_too_small_is_refused():
    with pytest.raises(ValueError, match="16 px"):
        render(drawn(1)[0], 8)


# Words


@pytest.mark.slow
def test_every_caption_is_read_back_and_true():
    rng = generator("validation", 1)
    for i in range(2000):
        scene = random_scene(rng, 3 if i % 10 == 0 else None)
        for text in (caption(scene, rng), full_caption(scene), short_caption(scene)):
            assert read(text).allows(scene), text
            assert set(words_of(text)) <= WORDS


def test_a_caption_is_false_of_a_scene_that_differs_in_what_it_names():
    for edit in islice(edits("validation", 2), 200):
        if edit.kind != "noop":
            assert not read(edit.target_caption).allows(edit.source)
            assert not any(read(edit.source_caption).allows(t) for t in edit.targets)


def test_the_short_caption_of_a_circle():
    scene = Scene(things=(Thing(shape="circle", colour="red"),), background="white")
    assert short_caption(scene) == "a red circle on a white background"


def test_phrasing_varies():
    rng = generator("train", 3)
    scene = drawn(1, things=2)[0]
    assert len({caption(scene, rng) for _ in range(200)}) > 50


def test_unsaid_attributes_are_free_and_said_ones_bind():
    wanted = read("a red circle and a small star, gray background at night")
    scene = Scene(
        things=(
            Thing(shape="star", colour="pink", size="small", place="left"),
            Thing(shape="circle", colour="red", texture="dotted", place="right"),
        ),
        background="grey",
        look="night",
    )
    assert wanted.allows(scene)
    assert not wanted.allows(replace(scene, look="day"))
    assert not wanted.allows(replace(scene, things=scene.things[:1]))
    assert not read("a red star and a small circle").allows(scene)


@pytest.mark.parametrize("text", ["a zebra", "", "a red", "a red circle on a wooden background"])
def test_what_is_not_of_the_grammar_is_refused(text: str):
    with pytest.raises(ValueError, match="caption"):
        read(text)


def test_unknown_words_are_named_in_order():
    assert unknown_words("A photo of a red Zebra, please.") == ["photo", "zebra", "please"]


# Edits


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_what_its_mask_covers_and_nothing_else(kind: str):
    rng = generator("validation", 4)
    for _ in range(20):
        edit = random_edit(rng, kind)
        before, afters = edit.pictures(64)
        assert len(afters) == len(edit.targets) >= 1
        assert read(edit.source_caption).allows(edit.source)
        for i, (after, target) in enumerate(zip(afters, edit.targets, strict=True)):
            hard, soft = edit.hard_mask(64, i), edit.soft_mask(64, i)
            assert (before[~hard] == after[~hard]).all()
            assert ((soft >= 0) & (soft <= 1)).all()
            assert read(edit.target_caption).allows(target)
            assert fits(target.things)
            assert hard.any() == (kind != "noop")
            assert (soft > 0).any() == (kind != "noop")


def test_an_addition_is_right_at_every_free_place():
    rng = generator("validation", 5)
    some = [random_edit(rng, "add") for _ in range(30)]
    assert max(len(e.targets) for e in some) > 1
    for edit in some:
        places = {t.things[-1].place for t in edit.targets}
        assert len(places) == len(edit.targets)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="recolour"):
        random_edit(generator("validation", 6), "repaint")
