"""What a model and an edit with it will take, said by `scumble edit --dry-run` and `scumble doctor --model` before
anything is loaded: tiny folders of every family.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from scumble import cli
from scumble.core.errors import InputError
from scumble.editing import loading
from scumble.editing.plan import opened
from scumble.editing.recipe import Recipe
from scumble.editing.room import room
from scumble.priors._estimate import amount, at_once, estimate, kept
from scumble.priors._folder import Folder
from tests.priors.conftest import folder  # noqa: F401
from tests.priors.families import MAKERS, save
from tests.priors.test_hub import Hub, hub  # noqa: F401

WORDS: dict[str, Any] = {"source": "a cat", "target": "a dog"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    place = tmp_path_factory.mktemp("families")
    return {name: save(make(), place / name) for name, make in MAKERS.items()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture in it, in which no model can be loaded."""

    def refuse(asked: object) -> None:
        raise InputError("nothing is loaded here")

    monkeypatch.setattr(loading, "load", refuse)
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((96, 64)).save("in.png")
    return tmp_path


def dry_run(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    """What is said before the model would be loaded."""
    words = ["--source", WORDS["source"], "--target", WORDS["target"]]
    assert cli.run(["edit", "in.png", *words, "--dry-run", *flags]) == 2
    *said, last = capsys.readouterr().err.splitlines()
    assert last == "scumble: nothing is loaded here"
    return said


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.usefixtures("here")
def test_every_family_before_it_is_loaded(
    name: str, folders: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Folder.open(folders[name])
    weights, pictures = dry_run(capsys, "--model", str(model.path), "--device", "cpu")
    sizes = estimate(model, torch.float32)
    assert weights.startswith(f"weights: {amount(sum(sizes.values()))} in float32 on cpu (")
    assert all(f"{part} {amount(size)}" in weights for part, size in sizes.items())
    assert pictures.startswith("pictures: about ")
    assert pictures.endswith(" takes no gradient through them")

    settings = ["--dtype", "bfloat16", "--memory", "8bit", "--memory", "text"]
    weights, _ = dry_run(capsys, "--model", str(model.path), "--device", "cpu", *settings)
    less = estimate(model, torch.bfloat16, ("8bit", "text"))
    assert weights.startswith(f"weights: {amount(sum(less.values()))} in bfloat16 on cpu (")
    at_most = f"with --memory 8bit --memory text at most {amount(kept(less, ('text',)))} at the same time"
    assert weights.endswith(at_most)

    assert cli.run(["doctor", "--model", str(model.path), "--device", "cpu", *settings]) == 2
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in said if line] == [
        *("weights", "pictures", "gradients", "with less", "main memory")
    ]
    assert f"{amount(sum(less.values()))} in bfloat16 with --memory 8bit --memory text (" in said[0]


@pytest.mark.usefixtures("here")
def test_an_accelerator_has_one_part_at_a_time(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from scumble.priors import _parts

    monkeypatch.setattr(_parts, "resolve_device", lambda _: torch.device("cuda"))
    about = room(opened(Recipe("in.png", model=str(folders["flux"]), memory=["offload"], **WORDS)))
    assert about is not None
    sizes = estimate(Folder.open(folders["flux"]), torch.bfloat16)
    assert about.record["dtype"] == "bfloat16", "what auto takes there"
    assert about.record["resident"] == at_once(sizes, ("offload",)) == max(sizes.values())


# Gradients


def taken(method: Any, model: Path, **more: Any) -> dict[str, int]:
    about = room(opened(Recipe("in.png", model=str(model), method=method, **{**WORDS, **more})))
    assert about is not None
    return about.record["gradients"]


@pytest.mark.usefixtures("here")
def test_what_gradients_keep(folders: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    sdxl, flux = folders["sdxl"], folders["flux"]
    for method in ("dds", "flowedit", "sdedit", "edit_friendly", "p2p"):
        assert taken(method, sdxl) == {}
    one = taken("cds", sdxl)["network"]
    assert one > 0
    assert taken("null_text", sdxl) == {"network": one}
    assert taken("ids", sdxl) == {"network": 2 * one}, "the prompt's row and the null prompt's"
    assert taken("cds", flux) == taken("ids", flux), "guidance is an input of FLUX, without a null row"
    assert taken("cds", sdxl, size=64)["network"] == pytest.approx(4 * one, rel=0.01)
    _, pictures = dry_run(capsys, "--model", str(sdxl), "--device", "cpu", "--method", "cds")
    assert pictures.endswith(f"the gradients of cds keep about {amount(one)} more (network {amount(one)})")


@pytest.mark.usefixtures("here")
def test_gradients_of_a_judge(folders: Mapping[str, Path]) -> None:
    """Through the network where it looks at clean pictures, and through the codec where it looks at pixels."""
    mask = Image.new("L", (96, 64), 255)
    for noisy, space, through in (
        (False, "pixels", {"network", "codec"}),
        (False, "latents", {"network"}),
        (True, "latents", set()),
    ):
        judge = SimpleNamespace(noisy=noisy, space=space)
        assert taken("sdg", folders["sdxl"], given={"clip": judge}, mask=mask).keys() == through
    assert taken("dds", folders["sdxl"], form="lut").keys() == {"codec"}


# What there is besides


@pytest.mark.usefixtures("here")
def test_a_model_that_is_not_downloaded_yet(
    hub: Hub,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = estimate(Folder.open(hub.repository), torch.float32)
    line = ["edit", "in.png", "--source", "a cat", "--target", "a dog", "--model", "owner/name", "--dry-run"]
    assert cli.run([*line, "--device", "cpu"]) == 0
    first, weights, pictures = capsys.readouterr().err.splitlines()
    assert first.startswith("dry run: 0.0 GB of owner/name (licence: openrail)")
    assert weights.startswith(f"weights: {amount(sum(sizes.values()))} in float32 on cpu (")
    assert "takes no gradient" in pictures
    assert cli.run([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["room"]["weights"] == sizes
    assert hub.weights == []


@pytest.mark.usefixtures("here")
def test_a_broken_folder_is_refused_by_the_estimate_in_the_same_words(
    folders: Mapping[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import shutil

    broken = Path(shutil.copytree(folders["sdxl"], tmp_path / "broken"))
    (broken / "unet/config.json").write_text("{")
    assert cli.run(["doctor", "--model", str(broken)]) == 2
    assert "unet/config.json is not readable JSON" in capsys.readouterr().err
