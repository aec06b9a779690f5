"""No command replaces what it reads, by whatever name, not even with --overwrite; places are tried before the work."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from scumble import artifacts, cli
from scumble.core.errors import InputError
from scumble.core.outputs import Inputs
from scumble.editing import apply as applying
from scumble.editing.inputs import inputs
from scumble.editing.recipe import Recipe
from scumble.networks.editor import Editor, EditorConfig, Task, probe_picture

RED = ["--source", "a red circle"]
BLUE = [*RED, "--target", "a blue circle", "--steps", "2"]
NEVER = "this would overwrite the input; choose another name"
pytestmark = pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")


@pytest.fixture
def files(png: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the red circle, in which commands run, with other inputs beside it."""
    folder = png.parent
    monkeypatch.chdir(folder)
    Image.open(png).rotate(90, expand=True).save("ref.png")
    Image.linear_gradient("L").resize((96, 64)).save("mask.png")
    os.link("circle.png", "hard.png")
    Path("link.png").symlink_to("circle.png")
    Path("sentences").mkdir()
    Path("cats.png").write_text("a cat\n")
    Path("dogs.png").write_text("a dog\n")
    Path("net").mkdir()
    Path("net/weights.tuned").write_bytes(b"weights")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("line", "outs"),
    [
        (["invert", "circle.png", *RED, "--set", "steps=2"], ["circle.png", "link.png", "hard.png"]),
        (["invert", "circle.png", *RED, "--model", "net"], ["net/weights.tuned"]),
        (["attention", "circle.png", "--prompt", "a"], ["circle.png", "hard.png"]),
        (["edit", "circle.png", *BLUE, "--mask", "mask.png"], ["mask.png", "link.png"]),
        (["edit", "circle.png", *BLUE, "--method", "ilvr", "--reference", "ref.png"], ["ref.png"]),
        (
            [
                "edit",
                "circle.png",
                *RED,
                "--method",
                "pix2pix_zero",
                "--given",
                "direction=cats.png,dogs.png",
            ],
            ["cats.png", "dogs.png"],
        ),
        (["upscale", "circle.png"], ["circle.png", "link.png"]),
        (["tune", "textual_inversion", "circle.png", "--word", "q"], ["circle.png", "link.png"]),
        (["tune", "dreambooth", ".", "--word", "q"], ["ref.png"]),
        (["tune", "dreambooth", "ref.png", "--class-pictures", "."], ["circle.png"]),
        (
            ["train", "direction", "a", "b", "--method", "diffusionclip", "--clip", "net"],
            ["net/weights.tuned"],
        ),
        (
            ["train", "direction", "a", "b", "--method", "diffusionclip", "--clip", "no", "--pictures", "."],
            ["ref.png"],
        ),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_no_input_is_replaced(
    line: list[str], outs: list[str], files: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(files)
    for out in outs:
        assert cli.run([*line, "-o", out, "--overwrite"]) == 2
        assert capsys.readouterr().err.rstrip().endswith(f"{out}: {NEVER}")
    assert contents(files) == before
    assert loaded == []


def test_no_given_file_is_replaced(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["invert", "circle.png", *RED, "--set", "steps=2", "-o", "i.png"]) == 0
    before = contents(files)
    edit = ["edit", "circle.png", *BLUE, "--method", "npi", "--given", "inversion=i.png"]
    assert cli.run([*edit, "-o", "i.png", "--overwrite"]) == 2
    assert f"i.png: {NEVER}" in capsys.readouterr().err
    paint = ["paint", "a", "--given", "tuned=i.png", "-o", "i.png", "--overwrite"]
    assert cli.run(paint) == 2
    assert f"i.png: {NEVER}" in capsys.readouterr().err
    assert contents(files) == before


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["seed-0.png", "seed-1.png", "sheet.png"])
@pytest.mark.parametrize("role", ["image", "mask"])
def test_a_sweep_replaces_no_input(
    role: str, name: str, more: list[str], files: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    read = {"image": "circle.png", "mask": "mask.png"}
    read[role] = str(Path(read[role]).rename(name))
    before = contents(files)
    sweep = ["sweep", read["image"], *BLUE, "--mask", read["mask"], "--over", "seed=0,1", "-o", "."]
    assert cli.run([*sweep, *more]) == 2
    assert f"{name}: {NEVER}" in capsys.readouterr().err
    assert (contents(files), loaded) == (before, [])


# Several pictures with a trained editor ------------------------------------------------------------------


@pytest.fixture
def editor(model: Any, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an editor is called, it is a small one with the tasks star and blue."""
    with torch.no_grad():
        probe = model.encode(probe_picture())
    shape: dict[str, Any] = {"widths": (8, 8), "attention": (False, True), "head": 8, "groups": 4}
    tasks = Task(name="star", source="{shape}", target="star"), Task(name="blue", source="red", target="blue")
    made = Editor(EditorConfig(channels=probe.shape[1], **shape), tasks, probe=probe).eval()
    monkeypatch.setattr(applying, "read", lambda path: made)


@pytest.mark.parametrize(
    ("pictures", "tasks", "other"),
    [
        (["circle.png", "circle.blue.png"], ["blue"], "circle.blue.png"),
        (["circle.blue.png", "circle.png"], ["blue"], "circle.blue.png"),
        (["circle.png", "sheet.png"], ["blue", "star"], "sheet.png"),
    ],
)
def test_apply_replaces_none_of_its_inputs(
    pictures: list[str], tasks: list[str], other: str, files: Path, editor: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Path("ref.png").rename(other)
    before = contents(files)
    named = [word for task in tasks for word in ("--task", task)]
    assert cli.run(["apply", "it", *pictures, *named, "-o", ".", "--overwrite"]) == 2
    assert f"{other}: {NEVER}" in capsys.readouterr().err
    assert contents(files) == before


@pytest.mark.parametrize("tasks", [["blue"], ["blue", "star"]])
def test_apply_makes_the_folder(tasks: list[str], files: Path, editor: None) -> None:
    named = [word for task in tasks for word in ("--task", task)]
    assert cli.run(["apply", "it", "circle.png", "ref.png", *named, "--model", "tiny", "-o", "new"]) == 0
    made = {f"{stem}.{task}.png" for stem in ("circle", "ref") for task in tasks}
    assert {path.name for path in Path("new").iterdir()} == made | (
        {"sheet.png"} if len(tasks) > 1 else set()
    )


# Places --------------------------------------------------------------------------------------------------


def test_a_disk_that_takes_no_changes_is_found_before_the_work(
    files: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(self: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", denied)
    assert cli.run(["invert", "circle.png", *RED, "-o", "out.inv"]) == 2
    assert "out.inv: cannot be written (Read-only file system)" in capsys.readouterr().err
    for line in (
        ["edit", "circle.png", *BLUE, "--seed", "0-1"],
        ["sweep", "circle.png", *BLUE, "--over", "seed=0,1"],
    ):
        assert cli.run([*line, "-o", "new"]) == 2
        assert "new: cannot be made (Read-only file system); choose another" in capsys.readouterr().err
    assert loaded == []


def test_a_name_that_the_system_cannot_have(
    files: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ["invert", "circle.png", *RED], ["tune", "textual_inversion", "circle.png"]:
        assert cli.run([*line, "-o", "x" * 300]) == 2
        assert "cannot be written (File name too long)" in capsys.readouterr().err
    assert cli.run(["edit", "circle.png", *BLUE, "--seed", "0-1", "-o", "x" * 300]) == 2
    assert "cannot be made (File name too long); choose another" in capsys.readouterr().err
    assert loaded == []


def test_a_file_is_an_input_by_any_name(files: Path) -> None:
    read = Inputs(["circle.png", "net", "nowhere.png", "", None, "no\0thing"])
    for name in (
        "circle.png",
        "./circle.png",
        "link.png",
        "hard.png",
        "net/../circle.png",
        files / "circle.png",
    ):
        assert Path(name) in read
    for name in ("ref.png", "nowhere.png", "no\0thing", "net/weights.tuned", "x" * 300):
        assert Path(name) not in read
    assert Path("net/weights.tuned") in Inputs(["net"], folders=True)
    assert Path("net/new.tuned") not in Inputs(["net"], folders=True)  # it replaces nothing


def test_all_files_of_a_recipe_are_inputs() -> None:
    recipe = Recipe(
        "in.png",
        mask=Path("mask.png"),
        reference="ref.png",
        vae="vae.safetensors",
        lora=["lora.safetensors:0.5"],
        embedding="word.pt",
        given={"inversion": "in.inv", "direction": "a.safetensors:0.5, b.safetensors", "tuned": object()},
        model="folder",
    )
    named = {"in.png", "mask.png", "ref.png", "vae.safetensors", "lora.safetensors", "word.pt", "in.inv"}
    named |= {"a.safetensors", "b.safetensors", "folder"}
    assert named <= {str(path) for path in inputs(recipe)}
    assert Path("scenes") not in inputs(Recipe("in.png"))


def test_an_artifact_replaces_no_input(files: Path) -> None:
    with pytest.raises(InputError, match=NEVER):
        artifacts.check_output(Path("link.png"), ["circle.png"])
    with pytest.raises(InputError, match="exists already; --overwrite replaces it"):
        artifacts.check_output(Path("ref.png"), ["circle.png"], overwrite=False)
    artifacts.check_output(Path("ref.png"), ["circle.png"])
