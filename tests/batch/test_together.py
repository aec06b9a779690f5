"""What is made together equals what is made alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import scumble
from scumble.batch.check import Checked
from scumble.batch.groups import groups
from scumble.batch.making import together
from scumble.batch.rows import Row, identity
from scumble.editing.plan import Plan, plan
from scumble.editing.recipe import Recipe
from scumble.methods import METHODS, get
from scumble.pictures.placed import Placed

TOLERANCE = 2e-4  # of the parity tests: calls of several rows sum in another order
ALONE = {name for name in METHODS if get(name).needs.given}
FEW = {"steps": 4, "inner_steps": 2}
THEIRS: dict[str, dict[str, Any]] = {
    "ilvr": {"factor": 4},
    "masactrl": {"layer": 1},
    "plug_and_play": {"feature_block": 1, "attention_layer": 1},
    "repaint": {"jump_length": 2, "jump_samples": 2},
}
MADE = sorted(set(METHODS) - ALONE - {"sampling"})
SOME = "dds", "dds_fast", "ddim_inversion", "null_text", "p2p", "sdedit"  # the kit tests all for two pictures


def plans(model: scumble.Prior, method: str, edits: list[dict[str, Any]]) -> list[Plan]:
    kind = get(method)
    settings = {name: value for name, value in FEW.items() if name in kind.__dataclass_fields__} | THEIRS.get(
        method, {}
    )
    placed: dict[Path, Placed] = {}
    made: list[Plan] = []
    for edit in edits:
        path = edit["image"]
        if kind.needs.mask:
            edit = {**edit, "mask": path.with_name("mask.png")}
        if kind.needs.reference:
            edit = {**edit, "reference": path.with_name("p3.png")}
        recipe = Recipe(model=model, method=method, settings=settings, size=32, **edit)
        made.append(plan(recipe, placed.get(path)))
        placed[path] = made[-1].placed
    return made


def check(plans: list[Plan]) -> None:
    for one, row in zip(plans, together(plans), strict=True):
        alone = one()
        assert row.seed == alone.seed
        assert torch.allclose(row.raw, alone.raw, atol=TOLERANCE), float((row.raw - alone.raw).abs().max())


@pytest.fixture
def masked(pictures: Path) -> Path:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 32, 48))
    mask.save(pictures / "mask.png")
    return pictures


pytestmark = pytest.mark.filterwarnings("ignore:.*cannot reproduce this picture", "ignore:prompt")


@pytest.mark.slow
@pytest.mark.parametrize("method", SOME)
def test_pictures_made_together(method: str, masked: Path, model: scumble.Prior) -> None:
    edits = [
        {"image": masked / f"p{i}.png", "source": f"a {i}", "target": f"{i} b", "seed": 9 * i % 5}
        for i in range(3)
    ]
    check(plans(model, method, edits))


@pytest.mark.slow
@pytest.mark.parametrize("method", MADE)
def test_targets_made_together(method: str, masked: Path, model: scumble.Prior) -> None:
    edits = [
        {"image": masked / "p1.png", "source": "a", "target": target, "seed": 3}
        for target in ("b", "cd", "a b")
    ]
    check(plans(model, method, edits))


@pytest.mark.parametrize(
    ("method", "compat", "sizes"),
    [
        ("diffedit", "pipeline", [1] * 4),
        ("diffedit", "", [4]),
        ("blended_diffusion", "authors", [1] * 4),
        ("direct_inversion", "authors", [4]),
    ],
)
def test_what_is_averaged_over_a_call_is_made_alone(method: str, compat: str, sizes: list[int]) -> None:
    """Else a row's result would depend on --batch, which its identity does not know."""
    recipes = [Recipe(image=f"p{k // 2}.png", method=method, settings={"compat": compat}) for k in range(4)]
    rows = [Row(k, None, recipe, str(k), f"{k}.png") for k, recipe in enumerate(recipes)]
    assert [len(group) for group in groups(rows, Checked([], [], {}), 8)] == sizes


def test_weights_that_are_rounded_make_another_row() -> None:
    def named(*memory: str) -> str:
        return identity(Recipe(image="p.png", memory=memory), {}, {})

    assert len({named(), named("8bit"), named("4bit")}) == 3
    assert named() == named("slicing", "offload")
    assert named("4bit") == named("slicing", "4bit")
    assert named() == "6c0cf19405b760220356356545c1d5d4"  # of a row that was made before
