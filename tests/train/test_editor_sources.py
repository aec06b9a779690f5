"""Editors' pictures from parquet, webdatasets and the prior itself; and the recipes for real checkpoints, in small."""

import io
import json
import math
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from scumble.core.errors import InputError
from scumble.networks.editor import Editor, EditorConfig, Task
from scumble.priors.sdxl import SDXLPrior
from scumble.train.editor import train_editor
from scumble.train.editor_data import examples, pictures
from scumble.train.editor_recipe import Data, EditorRecipe, Network, Samples, Scenes, read
from scumble.train.tasks import Matcher
from tests.priors import families

ROOT = Path(__file__).parents[2]
TASKS = (Task(name="star", source="circle", target="star"),)
CAPTIONS = "a red circle", "a green circle", "a cat"


def recipe(**data: Any) -> EditorRecipe:
    network = Network(widths=(8, 8), attention=(False, True), head=8, groups=4)
    return EditorRecipe(tasks=TASKS, data=Data(held_out=1, **data), network=network)


def png(k: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (80 * k, 200, 30)).save(file, "PNG")
    return file.getvalue()


def as_parquet(folder: Path, image: str = "image", text: str = "text") -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({image: datasets.Image(), text: datasets.Value("string")})
    rows = {image: [{"bytes": png(k), "path": None} for k in range(3)], text: list(CAPTIONS)}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "pictures.parquet"))


def as_webdataset(folder: Path) -> None:
    pytest.importorskip("datasets")
    with tarfile.open(folder / "pictures.tar", "w") as tar:
        for k, caption in enumerate(CAPTIONS):
            for ending, content in (("png", png(k)), ("txt", caption.encode())):
                info = tarfile.TarInfo(f"{k:03}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (as_parquet, {"parquet": "*.parquet"}),
        (as_webdataset, {"webdataset": "pictures.tar", "image": "png", "text": "txt"}),
    ],
)
def test_parquet_and_webdatasets_are_read(
    write: Callable[[Path], None], said: dict[str, Any], tmp_path: Path, model: Any
) -> None:
    write(tmp_path)
    found = examples(recipe(**said), model, tmp_path)
    assert list(found.captions) == ["a red circle", "a green circle"]
    assert [match[0].target for match in found.matches] == ["a red star", "a green star"]
    assert (found.unfit, len(found.latents)) == (1, 2)
    assert not torch.equal(found.latents[0], found.latents[1])


def test_a_column_that_does_not_exist_is_named(tmp_path: Path, model: Any) -> None:
    as_parquet(tmp_path, text="caption")
    with pytest.raises(InputError, match="row 0 has no column 'text'; it has image, caption"):
        examples(recipe(parquet="pictures.parquet"), model, tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_files_that_are_none_are_named(kind: str, tmp_path: Path, model: Any) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match=f"data: {kind} absent.x: cannot be read"):
        examples(recipe(**{kind: "absent.x"}), model, tmp_path)


def test_pictures_sampled_from_the_prior(tmp_path: Path, model: Any) -> None:
    (tmp_path / "said.txt").write_text("a red circle\n\na blue circle\n")
    wanted = recipe(samples=Samples(captions="said.txt", count=3, steps=2))
    found = examples(wanted, model, tmp_path)
    assert list(found.captions) == ["a red circle", "a blue circle", "a red circle"]
    assert torch.equal(
        found.latents, examples(wanted, model, tmp_path).latents
    )  # a resumed run's are the same
    (tmp_path / "said.txt").write_text("\n")
    with pytest.raises(InputError, match="contains no captions; write one per line"):
        examples(wanted, model, tmp_path)


# The built-in editor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True])
def test_scenes_are_drawn_as_the_recipe_says(wide: bool, model: Any, tmp_path: Path) -> None:
    data = Data(scenes=Scenes(count=4, objects=1, wide=wide))
    first, again = (list(pictures(data, model, tmp_path, 3, skip_bad=False)) for _ in range(2))
    assert [each.picture.tobytes() for each in first] == [each.picture.tobytes() for each in again]
    assert {each.picture.size for each in first} == {(128, 128)}
    grounds = {each.picture.getpixel((0, 0)) for each in first}
    assert len(grounds) == 4 or not wide  # colours near their names, not the names' own


def test_every_task_of_the_built_in_editor_finds_pictures_in_its_world(model: Any, tmp_path: Path) -> None:
    wanted = read(ROOT / "recipes/scenes-editor.yaml")
    matcher, data = Matcher(wanted.tasks, wanted.words), Data(scenes=Scenes(count=100, wide=True))
    drawn = pictures(data, model, tmp_path, 0, skip_bad=False)
    found = Counter(match.task for each in drawn for match in matcher(each.caption))
    assert len(found) == len(wanted.tasks)
    assert min(found.values()) >= 20


# The recipes for real checkpoints ------------------------------------------------------------------------

PARAMETERS = 60.5e6  # of their editors, as docs/editors.md says


@pytest.mark.parametrize("name", ["sd15-cats", "sdxl-cats"])
def test_the_recipes_size_is_what_the_docs_say(name: str) -> None:
    wanted = read(ROOT / f"recipes/{name}.yaml")
    with torch.device("meta"):
        made = Editor(wanted.network.config(4, 0), wanted.tasks, probe=torch.zeros(1, device="cpu"))
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(PARAMETERS, rel=0.02)
    assert "60.5 million" in (ROOT / "docs/editors.md").read_text()
    assert (wanted.training.batch * wanted.training.accumulate, len(wanted.tasks)) == (16, 4)


@pytest.mark.parametrize("name", ["sd15-cats", "sdxl-cats"])
def test_the_recipes_train_in_small(name: str, tmp_path: Path, model: Any) -> None:
    """Two steps with a tiny network of the checkpoint's structure; the editor has the recipe's, a sixteenth as wide."""
    prior = model if name == "sd15-cats" else SDXLPrior.from_pipeline(families.sdxl())
    wanted = read(ROOT / f"recipes/{name}.yaml")
    assert wanted.data.samples is not None
    captions = ROOT / "recipes" / wanted.data.samples.captions
    widths = tuple(width // 16 for width in wanted.network.widths)
    wanted = replace(
        wanted,
        data=replace(wanted.data, samples=replace(wanted.data.samples, count=6, steps=2), held_out=1),
        network=replace(wanted.network, widths=widths, head=8, groups=4),
        training=replace(wanted.training, steps=2, batch=2, accumulate=2, log_every=1),
    )
    assert isinstance(wanted.network.config(4, 0), EditorConfig)
    out = train_editor(wanted, tmp_path / "out", folder=captions.parent, prior=prior)
    rows = [json.loads(line) for line in (tmp_path / "out.log/editor.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert [task.name for task in Editor.from_folder(out).tasks] == ["lion", "tiger", "dog", "fox"]
