"""The study of near misses: a shifted right answer counts as near, a wrong or distant one does not."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from scumble.bench.studies.misses import SIDE, misses, nearest, table
from scumble.core.errors import InputError
from scumble.measuring.tasks import SEED
from scumble.scenes import Scene, SceneEdit, Thing, edits, render

BEFORE = Thing(shape="circle", colour="red", size="medium", place="left")


def edit(kind: str, *after: Thing) -> SceneEdit:
    source, target = Scene(things=(BEFORE,)), Scene(things=after)
    return SceneEdit(
        kind=kind, source=source, targets=(target,), source_caption="", target_caption="", instruction=""
    )


@pytest.mark.parametrize(
    ("change", "strict", "near"),
    [
        ({}, True, True),
        ({"dx": 3 / SIDE, "dy": -2 / SIDE}, False, True),
        ({"dx": 12 / SIDE}, False, False),
        ({"radius": 0.155 * 1.25}, False, False),
        ({"shape": "circle"}, False, False),
    ],
)
def test_a_reshaped_object_may_be_a_little_off(change: dict[str, object], strict: bool, near: bool):
    star = replace(BEFORE, shape="star")
    drawn = render(Scene(things=(replace(star, **change),)), SIDE)  # pyright: ignore[reportArgumentType]
    miss = nearest(edit("reshape", star), drawn, True)
    assert miss is not None
    assert miss.right == (strict, near)
    assert miss.left[1] <= miss.left[0]


def test_an_added_object_may_stand_at_any_free_place():
    new = Thing(shape="square", colour="blue", size="small", place="right")
    drawn = render(Scene(things=(BEFORE, replace(new, dy=0.1))), SIDE)
    miss = nearest(edit("add", BEFORE, new), drawn, True)
    assert miss is not None
    assert miss.right == (False, True)
    assert miss.off == pytest.approx(0.1 * SIDE, abs=2)


def test_stripes_may_have_any_grain_of_the_world():
    striped = replace(BEFORE, texture="striped")
    drawn = render(Scene(things=(replace(striped, grain=0.1),)), SIDE)
    miss = nearest(edit("retexture", striped), drawn, True)
    assert miss is not None
    assert miss.left[1] < 0.05 < miss.left[0]


def test_what_is_not_found_is_not_right_however_near():
    star = replace(BEFORE, shape="star")
    miss = nearest(edit("reshape", star), render(Scene(things=(star,)), SIDE), False)
    assert miss is not None
    assert miss.right == (False, False)


def test_an_edit_that_changes_no_object_is_left_out():
    edit = next(e for e in edits("validation", SEED) if e.kind == "background")
    assert nearest(edit, render(edit.targets[0], SIDE), True) is None


def test_a_file_of_the_bench_gives_the_table(tmp_path: Path):
    known = list(islice(edits("validation", SEED), 10))
    rows: list[dict[str, object]] = []
    for i, each in enumerate(known):
        Image.fromarray(render(each.targets[0], SIDE)).save(tmp_path / f"{i}.png")
        row = {"id": f"scenes-validation-{i:06}", "kind": each.kind, "seed": 0, "repeat": 0, "refused": None}
        bench = {"world": "scenes", "split": "validation", "side": SIDE}
        scores = {"found": True}
        rows.append(
            {**row, "output": f"{i}.png", "scores": scores, "method": "", "parameters": {}, "bench": bench}
        )
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = list(table(misses(path)))
    assert len(misses(path)) == 6
    assert lines[-1].startswith("| all | 6 | 100 [100, 100] | 100 [100, 100] | 100 [100, 100] |")
    rows[0]["bench"] = {"world": "drawings", "split": "validation"}
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="no rows of `scumble bench scenes`"):
        misses(path)
