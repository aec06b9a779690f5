"""What the page's form is made of, and the command line that it writes."""

import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from scumble.cli import edit, run
from scumble.cli.app import app
from scumble.editing.checks import method_class, method_names
from scumble.editing.command import command_line
from scumble.editing.recipe import Recipe
from scumble.page.asking import FIELDS, PICTURES, fields_told
from scumble.page.facts import methods_told


def test_the_form_has_every_parameter_of_every_method() -> None:
    told = {one["name"]: one for one in methods_told(None, {"mine": "mine"})}
    json.dumps(told)
    for name in method_names():
        kind = method_class(name)
        if kind.needs.given and kind.needs.given != ("editor",):
            assert name not in told
            continue
        assert {p["name"] for p in told[name]["parameters"]} == {f.name for f in fields(kind)}
        for p in told[name]["parameters"]:
            assert p["help"]
            assert p["kind"] in ("whole", "number", "switch", "word", "other")


def test_clients_set_what_decides_an_edit_and_nothing_of_the_machine() -> None:
    """A new field of the recipe must be put on one side or the other here."""
    owners = {
        "model",
        "device",
        "dtype",
        "revision",
        "offline",
        "lora",
        "vae",
        "embedding",
        "clip_skip",
        "memory",
    }
    assert {f.name for f in fields(Recipe)} == {*FIELDS, *PICTURES, *owners, "given"}
    assert [one["name"] for one in fields_told()] == [*PICTURES, *FIELDS]


WORDS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip()) and text == text.strip()
)
VALUES = st.one_of(st.integers(0, 99), st.floats(0, 9), st.booleans(), WORDS, st.none())
RECIPES = st.builds(
    Recipe,
    st.just("in.png"),
    source=st.none() | WORDS,
    target=st.none() | WORDS,
    method=st.none() | st.sampled_from(["dds", "sdedit"]),
    negative=st.just("") | WORDS,
    also=st.lists(st.tuples(WORDS, st.floats(-2, 2)), max_size=2).map(tuple),
    seed=st.integers(0, 2**64 - 1),
    settings=st.dictionaries(st.sampled_from(["steps", "guidance", "other"]), VALUES, max_size=2),
    mask=st.none() | st.just("my mask.png"),
    keep=st.sampled_from(["auto", "none", 0.25]),
    crop=st.sampled_from(["auto", "none"]),
    form=st.just("latent"),
    size=st.none() | st.integers(16, 2048),
    upscale=st.sampled_from([1, 2, 4]),
    paper=st.booleans(),
    force=st.booleans(),
    model=st.sampled_from(["scenes", "./a model"]),
    lora=st.lists(st.sampled_from(["a.safetensors:0.5", "b c.safetensors"]), max_size=2).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(recipe=RECIPES)
def test_the_command_line_makes_the_same_recipe(recipe: Recipe) -> None:
    read = reads(command_line(recipe), edit)
    (target,), (seed,) = read["targets"], read["seeds"]
    assert target == (recipe.target or "")
    assert seed == recipe.seed
    asked: Recipe = read["recipe"]
    for f in fields(Recipe):
        if f.name in ("image", "mask"):
            assert str(getattr(asked, f.name)) == str(getattr(recipe, f.name))
        elif f.name not in ("target", "seed"):
            assert (f.name, getattr(asked, f.name)) == (f.name, getattr(recipe, f.name))


def reads(line: str, of: Any) -> dict[str, Any]:
    """What a command's `run` is asked for by a line."""
    got: dict[str, Any] = {}

    def take(asked: Any, *rest: Any, **also: Any) -> None:
        got.update(recipe=asked, targets=rest[0], seeds=rest[1], **also)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, "run", take)
        assert run(shlex.split(line)[1:]) == 0, line
    return got


def test_several_targets_and_seeds_are_flags_and_more_is_a_sweep() -> None:
    recipe = Recipe("in.png", source="a", target="b", method="dds")
    read = reads(command_line(recipe, {"target": ["b", "c, d"], "seed": [3, 5]}), edit)
    assert (read["targets"], read["seeds"]) == (["b", "c, d"], [3, 5])
    line = command_line(recipe, {"target": ["b", "c, d"], "guidance": [2, 3.5], "method": ["dds", "sdedit"]})
    words = shlex.split(line)
    assert words[:2] == ["scumble", "sweep"]
    assert "target=b|c, d" in words
    assert "guidance=2,3.5" in words
    context = typer.main.get_command(app).commands["sweep"].make_context("sweep", words[2:])  # type: ignore[attr-defined]
    from scumble.cli.axes import axes

    assert axes(context.params["over"]) == {
        "target": ["b", "c, d"], "guidance": [2, 3.5], "method": ["dds", "sdedit"],
    }  # fmt: skip


def test_checkpoints_in_the_cache_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from scumble.priors.load import cached

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("models--a--b-c", "models--d--e", "datasets--f--g"):
        (tmp_path / name / "snapshots" / "123").mkdir(parents=True)
    for name in ("models--a--b-c", "datasets--f--g"):
        (tmp_path / name / "snapshots" / "123" / "model_index.json").touch()
    assert cached() == ["a/b-c"]
