"""The reduced world and its exact score: everything listed, nothing left to learn."""

from itertools import islice

import pytest
import torch

from scumble.bench.exact import ExactScore, reduced_edits, reduced_scenes
from scumble.core.errors import InputError
from scumble.core.pixels import to_images, to_pixels
from scumble.core.request import EditRequest
from scumble.measuring.judge import Known, judge
from scumble.methods.dds import DDS
from scumble.priors.exact import GaussianPrior
from scumble.scenes import KINDS, full_caption, read, render
from scumble.scenes.world import fits

from .conftest import contestant

SIDE = 32
FEW = [
    scene
    for scene in reduced_scenes()
    if len(scene.things) == 1
    and (scene.background, scene.look) == ("white", "day")
    and (scene.things[0].texture, scene.things[0].size) == ("plain", "large")
    and scene.things[0].colour in ("red", "blue")
]


@pytest.fixture(scope="module")
def exact() -> ExactScore:
    return ExactScore(GaussianPrior({"": 0.0}, size=SIDE), FEW)


def test_the_reduced_world_is_a_few_thousand_scenes_all_different():
    scenes = reduced_scenes()
    assert len(scenes) == len(set(scenes)) == 3840 + 2400
    assert all(fits(scene.things) for scene in scenes)


def test_its_edits_stay_within_it():
    known = set(reduced_scenes())
    drawn = list(islice(reduced_edits("test", 0), 2 * len(KINDS)))
    assert [edit.kind for edit in drawn] == [*KINDS, *KINDS]
    for edit in drawn:
        assert {edit.source, *edit.targets} <= known
        assert all(read(edit.target_caption).allows(target) for target in edit.targets)
    again = list(islice(reduced_edits("test", 0), len(KINDS)))
    assert again == drawn[: len(KINDS)]
    assert list(islice(reduced_edits("validation", 0), len(KINDS))) != again


def test_a_prompt_is_answered_by_the_scenes_it_describes(exact: ExactScore):
    captions = [full_caption(scene) for scene in FEW]
    prompts = [captions[7], "a red star", "a star on the left", ""]
    for prompt, row in zip(prompts, exact.embed(prompts).tokens[:, 0], strict=True):
        right = [not prompt or read(prompt).allows(scene) for scene in FEW]
        assert row.bool().tolist() == right
    assert exact.embed(prompts).tokens.sum(-1).flatten().tolist() == [5, 10, 10, len(FEW)]
    with pytest.raises(InputError, match="no picture matches"):
        exact.embed(["a green star"])


def test_it_has_the_codec_the_schedule_and_the_values_of_the_prior_it_stands_for():
    base = GaussianPrior({"": 0.0}, size=SIDE)
    exact = ExactScore(base, FEW[:3])
    assert exact.schedule is base.schedule
    image = to_images([render(FEW[0], SIDE)])
    assert torch.equal(exact.encode(image), base.encode(image))
    assert (exact.card.id, exact.card.recommended) == (base.card.id, base.card.recommended)
    assert exact.card.hash != base.card.hash
    assert "control" not in exact.card.capabilities


def test_a_method_that_works_succeeds_where_the_score_is_exact(exact: ExactScore):
    """DDS knows no offsets, only words: the exact score keeps the object where it stands."""
    drawn = list(islice(reduced_edits("validation", 0, FEW, ("recolour",)), 4))
    request = EditRequest(
        image=to_images([render(edit.source, SIDE) for edit in drawn]),
        source=[edit.source_caption for edit in drawn],
        target=[edit.target_caption for edit in drawn],
    )
    results = to_pixels(DDS(steps=100)(exact, request).raw)
    for edit, result in zip(drawn, results, strict=True):
        judged = judge(Known.of(edit, SIDE), result, read=False)
        assert judged.done
        assert judged.preserved is not None
        assert judged.preserved > 30


def test_rows_of_the_reduced_world(stages):
    for text, world in [("dds", "whole"), ("dds+reduced", "reduced"), ("dds+exact", "exact")]:
        assert contestant(text).world == world
    reduced, exact = stages.reduced, stages.exact
    assert exact.tasks is reduced.tasks
    assert exact.settings["hash"] != reduced.settings["hash"]
    assert reduced.settings["world"] == "reduced"
    assert all(task.id.startswith("reduced-validation-") for task in reduced.tasks.all)
