"""The recipe: flags, functions and passports are views of it. And what is asked of a picture once."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import scumble
from scumble import InputError, api, cli
from scumble.cli import flags
from scumble.core.loading import Loading
from scumble.editing import loading
from scumble.editing.passport import recipe_of
from scumble.editing.plan import plan
from scumble.editing.recipe import Recipe
from scumble.pictures.canvas import Fit
from scumble.priors.load import load_prior

WORDS = {"source": "a red circle", "target": "a blue circle"}
FULL = Recipe(
    "in.png", **WORDS, method="dds", mask="mask.png", seed=3, settings={"steps": 2, "betas": (0.9, 0.99)}, keep=0.1,
    given={"inversion": "in.inv"}, size=64, model="owner/name", revision="main", lora=("a.safetensors:0.8",),
    memory=("slicing", "tiling"),
)  # fmt: skip


def test_a_recipe_is_json() -> None:
    values = json.loads(json.dumps(FULL.to_json()))
    assert values.keys() == {f.name for f in fields(Recipe)}
    assert Recipe.from_json(values) == FULL
    assert Recipe.from_json({"image": "in.png"}) == Recipe("in.png")
    assert Recipe(Path("in.png")).to_json()["image"] == "in.png"


def test_what_is_no_recipe() -> None:
    with pytest.raises(InputError, match=r"there is no 'sead' \(did you mean 'seed'\?\)"):
        Recipe.from_json({"image": "in.png", "sead": 3})
    with pytest.raises(InputError, match="image: missing"):
        Recipe.from_json({"source": "a red circle"})
    for change in ({"image": Image.new("RGB", (8, 8))}, {"method": scumble.DDS()}):
        with pytest.raises(InputError, match="in memory; give its file or its name"):
            replace(FULL, **change).to_json()


def test_the_functions_take_what_the_recipe_holds() -> None:
    edit, load = inspect.signature(scumble.edit), inspect.signature(scumble.load)
    assert [*edit.parameters] == [*inspect.signature(Recipe).parameters, "on_step"]
    assert [*inspect.signature(api.plan).parameters] == [*inspect.signature(Recipe).parameters]
    named = {name: p.default for name, p in load.parameters.items()}
    assert named == {f.name: f.default for f in fields(Loading)}
    assert [*inspect.signature(load_prior).parameters] == ["model", "options"]  # it lists no field again
    assert all(
        f"\n    {f.name}: " in str(scumble.edit.__doc__) for f in fields(Recipe) if f.name not in named
    )
    assert all(f"\n    {name}: " in str(scumble.load.__doc__) for name in named)


def test_every_field_is_a_flag() -> None:
    @flags.takes(Recipe)
    def command(recipe: Recipe) -> None: ...

    assert inspect.signature(command).parameters.keys() == {f.name for f in fields(Recipe)}
    assert all(f.metadata["help"] for f in fields(Recipe))


@pytest.mark.parametrize(
    "line", [["bench", "scenes", "--method", "dds"], ["reproduce", "dds"], ["doctor", "--model", "x"]]
)
def test_every_command_loads_alike(line: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Loading] = []

    def load(what: Loading) -> scumble.Prior:
        asked.append(what)
        raise InputError("enough")

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr("scumble.editing.room.lines", lambda _: [])  # which would look for "x" first
    monkeypatch.chdir(tmp_path)
    how = ["--lora", "a.safetensors:0.8", "--revision", "main", "--offline", "--memory", "slicing,tiling"]
    how += ["--vae", "v.safetensors", "--embedding", "e.safetensors", "--clip-skip", "1"]
    assert cli.run([*line, *how, "--device", "cpu", "--dtype", "float32"]) == 2
    assert asked[0].options == {
        "device": "cpu", "dtype": "float32", "revision": "main", "offline": True,
        "lora": ("a.safetensors:0.8",), "memory": ("slicing", "tiling"),
        "vae": "v.safetensors", "embedding": ("e.safetensors",), "clip_skip": 1,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")
def test_a_passport_is_a_recipe(model: scumble.Prior, png: Path) -> None:
    asked = Recipe(png, **WORDS, method="dds", settings={"steps": 2}, seed=3, keep=0.1, size=32, model=model)
    read = recipe_of(plan(asked).promise())
    assert (read.image, read.size, read.keep, read.seed, read.settings["steps"]) == (png.name, 32, 0.1, 3, 2)
    assert all(getattr(read, name) == value for name, value in WORDS.items())


# Reference pictures --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Follow(scumble.SDEdit):
    """SDEdit from another picture."""

    needs = replace(scumble.SDEdit.needs, reference=True)

    def __call__(self, prior: Any, request: scumble.EditRequest, on_step: Any = None) -> scumble.Edit:
        latent = prior.encode(request.reference)
        plain = replace(request, image=request.reference, latent=latent, reference=None)
        return scumble.SDEdit(steps=self.steps, strength=self.strength)(prior, plain, on_step)


@pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")
def test_a_reference_reaches_the_methods_that_take_one(
    model: scumble.Prior, circle: Image.Image, photo: Image.Image
) -> None:
    what: dict[str, Any] = {**WORDS, "model": model, "keep": "none"}
    method = Follow(steps=4, strength=0.5)
    made = scumble.edit(circle, **what, method=method, reference=photo)
    assert made.provenance["reference"] == {
        "name": "picture",
        "sha256": made.provenance["reference"]["sha256"],
    }
    fitted = scumble.edit(circle, **what, method=method, reference=photo.resize((61, 61)))
    assert not made.raw.equal(fitted.raw)
    with pytest.raises(InputError, match="reference: missing; Follow needs a picture to follow"):
        scumble.edit(circle, **what, method=method)
    with pytest.raises(InputError, match="reference: dds takes no reference picture; leave it out"):
        scumble.edit(circle, **what, method="dds", reference=photo)


def test_a_reference_on_the_command_line(
    png: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["edit", str(png), "--target", "x", "--reference", str(png), "--method", "sdedit"]) == 2
    assert "reference: sdedit takes no reference picture; leave it out" in capsys.readouterr().err
    assert not loaded


# What is given ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Hinted(scumble.SDEdit):
    """SDEdit that would look at a hint."""

    needs = replace(scumble.SDEdit.needs, takes=("hint",))


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        (
            "p2p",
            {"inverison": 3},
            r"p2p takes no 'inverison' \(did you mean 'inversion'\?\), only inversion and tuned",
        ),
        ("p2p", {"foo": 3}, "p2p takes no 'foo', only inversion and tuned; leave it out"),
        ("dds", {"direction": "cat,dog"}, "dds takes no 'direction', only parametrization and tuned"),
        ("sds", {"inversion": 3}, "sds takes no 'inversion'"),
        ("sdedit", {"reference": 3}, "sdedit takes no 'reference', only tuned"),
        (scumble.SDEdit(), {"inversion": 3}, "SDEdit takes no 'inversion'"),
        (Hinted(), {"hints": 3}, r"Hinted takes no 'hints' \(did you mean 'hint'\?\), only hint and tuned"),
    ],
)
def test_what_a_method_would_not_use_is_refused(
    method: Any, given: dict[str, object], message: str, model: scumble.Prior, circle: Image.Image
) -> None:
    with pytest.raises(InputError, match=f"given: {message}"):
        api.plan(circle, **WORDS, method=method, given=given, model=model)


@pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")
def test_what_a_method_takes_it_is_given(model: scumble.Prior, circle: Image.Image) -> None:
    made = api.plan(circle, **WORDS, method=Hinted(), given={"hint": 3}, model=model)
    assert made.request.given == {"hint": 3}


def test_any_size_fits_into_a_canvas() -> None:
    for size in [(10, 10), (300, 10), (10, 300), (64, 48)]:
        fit = Fit.within(size, (64, 48))
        assert max(a / b for a, b in zip(fit.inner, (64, 48), strict=True)) == 1
        assert fit.inner[0] + fit.offset[0] <= 64
        assert fit.inner[1] + fit.offset[1] <= 48


# Once ----------------------------------------------------------------------------------------------------


def test_a_sweep_encodes_its_picture_once(
    png: Path, model: scumble.Prior, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode: Callable[..., torch.Tensor] = model.encode
    seen: list[torch.Tensor] = []

    def counted(image: torch.Tensor, *noise: Any) -> torch.Tensor:
        seen.append(image.detach().clone())
        return encode(image, *noise)

    monkeypatch.setattr(model, "encode", counted)
    words = ["--source", "a red circle", "--target", "a blue circle", "--steps", "2"]
    assert cli.run(["sweep", str(png), *words, "--over", "guidance=2,3,4", "--over", "seed=0,1"]) == 0
    same = [image for image in seen if image.shape == seen[0].shape and image.equal(seen[0])]
    assert len(same) == 1
    assert len(seen) == 1 + 6  # and every result once, to be measured
