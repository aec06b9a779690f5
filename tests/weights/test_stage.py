"""The built-in x2 stage: small, as good as its card says, and at home in the package."""

import json

import pytest

from scumble.editing.upscale import STAGE, Upscaling, load
from scumble.priors._find import builtin
from scumble.train.sr3_gates import GATE, measured

pytestmark = pytest.mark.weights


def test_the_stage_is_small_and_passed_its_gate() -> None:
    folder = builtin(STAGE)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 15e6
    assert json.loads((folder / "gates.json").read_text())["passed"]


def test_the_built_in_model_names_it() -> None:
    assert json.loads((builtin("scenes") / "card.json").read_text())["upscaler"] == STAGE


@pytest.mark.slow
def test_the_stage_is_better_than_bicubic() -> None:
    found = measured(load(Upscaling()), Upscaling(steps=1), 4)
    assert found["better_by_db"] >= GATE
    assert found["ssim"] > found["bicubic_ssim"]
    assert found["again"] > 45
