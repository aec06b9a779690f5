"""Exported editors: the files' pictures are PyTorch's, at any size and batch, without scumble; and what is refused."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import scumble
from scumble import cli
from scumble.core.errors import InputError, MachineError
from scumble.networks.editor import Editor, EditorConfig, Task, probe_picture
from scumble.train import export as exporting

for needed in exporting.NEEDED:
    pytest.importorskip(needed)

ROOT = Path(__file__).parents[2]
TASKS = (Task(name="star", source="{shape}", target="star"), Task(name="blue", source="red", target="blue"))


def editor_of(prior: Any, **config: Any) -> Editor:
    """An untrained editor that changes a picture visibly."""
    torch.manual_seed(3)
    with torch.no_grad():
        probe = prior.encode(probe_picture())
    shape = {"widths": (8, 8), "attention": (False, True), "head": 8, "groups": 4}
    made = Editor(EditorConfig(channels=probe.shape[1], **(shape | config)), TASKS, probe=probe)
    torch.nn.init.normal_(made.unet.conv_out.weight, std=0.2)
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def editor(model: scumble.Prior) -> Editor:
    return editor_of(model)


@pytest.fixture(scope="module")
def folder(model: scumble.Prior, editor: Editor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "both"
    exporting.export(editor, model, out)
    return out


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Any]:
    """The two files, loaded: inputs to pictures; and what the program says of itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "editor.onnx")

    def onnx(*inputs: torch.Tensor) -> torch.Tensor:
        feed = {name: x.numpy() for name, x in zip(exporting.INPUTS, inputs, strict=True)}
        return torch.from_numpy(session.run([exporting.OUTPUT], feed)[0])

    said: dict[str, Any] = {"editor.json": ""}
    program = torch.export.load(folder / "editor.pt2", extra_files=said).module()
    return {"onnx": onnx, "program": program, "said": said["editor.json"]}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "program"])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 2, 2), (1, 2, 7), (2, 5, 3), (5, 3, 3)])
def test_the_pictures_are_pytorchs_to_one_step(
    form: str, batch: int, height: int, width: int, runs: dict[str, Any], editor: Editor, model: Any
) -> None:
    network = exporting.Exportable(editor, model).eval()
    inputs = network.example(9, batch, height, width)
    expected = network(*inputs)
    assert expected.shape == inputs[0].shape
    found = runs[form](*inputs)
    assert found.dtype == torch.uint8
    assert int((found.int() - expected.int()).abs().max()) <= exporting.BOUND


@pytest.mark.slow
def test_the_picture_is_that_of_an_edit(runs: dict[str, Any], editor: Editor, model: Any) -> None:
    side = 4 * exporting.Exportable(editor, model).multiple
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    edit = scumble.edit(
        pixels, method="editor", given={"editor": editor}, settings={"task": "blue", "strength": 0.8},
        model=model, keep="none", size=side,
    )  # fmt: skip
    assert edit.picture is not None
    found = runs["onnx"](torch.from_numpy(pixels)[None], torch.tensor([1]), torch.tensor([0.8]))
    apart = np.abs(np.asarray(edit.picture.convert("RGB")).astype(int) - found[0].numpy())
    assert apart.max() <= exporting.BOUND


@pytest.mark.slow
def test_the_files_say_what_they_hold(folder: Path, runs: dict[str, Any]) -> None:
    import onnxruntime

    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "editor.onnx", "editor.pt2"]
    session = onnxruntime.InferenceSession(folder / "editor.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["tasks"]) == ["star", "blue"]
    assert json.loads(runs["said"])["multiple"] == json.loads(about["multiple"])
    text = (folder / "README.md").read_text()
    assert "| 1 | blue | red | blue |" in text
    assert [each.name for each in session.get_inputs()] == [*exporting.INPUTS]


ALONE = "import sys\nsys.modules.update(torch=None, scumble=None, diffusers=None)\n"


def alone(script: str, *arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    """A script in a process that can import neither torch nor scumble."""
    command = [sys.executable, "-c", ALONE + script, *arguments]
    return subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_the_readmes_snippet_runs_without_torch(folder: Path, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(import json.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (tmp_path / "editor.onnx").write_bytes((folder / "editor.onnx").read_bytes())
    Image.new("RGB", (90, 60), (200, 30, 30)).save(tmp_path / "in.png")
    done = alone(snippet, at=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert Image.open(tmp_path / "out.png").getbbox() is not None


def test_the_docs_show_that_snippet() -> None:
    assert exporting.SNIPPET.replace("TASK", "star") in (ROOT / "docs/editors.md").read_text()


@pytest.mark.slow
def test_the_example_runs_without_torch(folder: Path, tmp_path: Path) -> None:
    script = (ROOT / "examples/editor_onnx.py").read_text()
    Image.new("RGB", (90, 60), (200, 30, 30)).save(tmp_path / "in.png")
    done = alone(script, str(folder / "editor.onnx"), "in.png", "out.png", "--task", "star", at=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert Image.open(tmp_path / "out.png").size == (90, 60)
    done = alone(script, str(folder / "editor.onnx"), "in.png", "out.png", "--task", "cat", at=tmp_path)
    assert done.returncode == 2
    assert "there is no task 'cat'; this editor has star, blue" in done.stderr


# The command, and bad input ------------------------------------------------------------------------------


def test_the_command_writes_one_file_or_a_folder(
    editor: Editor, model: Any, loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    editor.save(tmp_path / "it")
    monkeypatch.setattr(exporting, "_program", lambda network: None)
    monkeypatch.setattr(exporting, "_as_onnx", lambda program, network: b"onnx")
    monkeypatch.setattr(exporting, "_as_program", lambda program, network: b"program")
    assert cli.run(["export", str(tmp_path / "it"), "--model", "tiny"]) == 0
    made = tmp_path / "it-exported"
    assert capfd.readouterr().out.split() == [
        str(made / n) for n in ("editor.onnx", "editor.pt2", "README.md")
    ]
    assert cli.run(["export", str(tmp_path / "it"), "-o", str(tmp_path / "a.onnx"), "--model", "tiny"]) == 0
    assert (tmp_path / "a.onnx").read_bytes() == b"onnx"
    assert loaded == ["tiny", "tiny"]
    assert cli.run(["export", str(tmp_path / "it")]) == 2
    assert "this file exists already; choose another name, or --overwrite" in capfd.readouterr().err
    assert cli.run(["export", str(tmp_path / "it"), "--overwrite", "--model", "tiny"]) == 0
    assert cli.run(["export", str(tmp_path / "absent"), "-o", str(tmp_path / "b.onnx")]) == 2
    assert "no config.json there" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.bin", r"name a file NAME.onnx or NAME.pt2, or a folder"),
        ("none/a.onnx", "there is no folder"),
        ("file", "a file is in the way"),
        ("old.onnx", "this file exists already; choose another name, or --overwrite"),
    ],
)
def test_a_place_that_cannot_be_is_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "old.onnx").write_bytes(b"old")
    with pytest.raises(InputError, match=message):
        exporting.check(tmp_path / name)
    assert (tmp_path / "old.onnx").read_bytes() == b"old"


@pytest.mark.parametrize("out", ["it", "it/.", "link", "model"])
def test_the_folders_that_are_read_take_no_files(
    out: str, editor: Editor, loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    editor.save(Path("it"))
    Path("model").mkdir()
    Path("link").symlink_to("it")
    (Path(out) / "README.md").write_text("mine")
    assert cli.run(["export", "it", "--model", "model", "-o", out, "--overwrite"]) == 2
    assert (
        "this is the folder that is exported, or its model's; choose another one" in capsys.readouterr().err
    )
    assert (Path(out) / "README.md").read_text() == "mine"
    assert loaded == []


@pytest.mark.parametrize("name", ["a.onnx", "there", "new"])
def test_a_disk_that_takes_no_changes_is_found_before_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    (tmp_path / "there").mkdir()
    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(InputError, match=r"cannot be (written|made) \(Read-only file system\)"):
        exporting.check(tmp_path / name)
    with pytest.raises(InputError, match=r"cannot be written \(File name too long\)"):
        exporting.check(tmp_path / f"{'x' * 300}.onnx")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs onnx, onnxruntime, onnxscript; install scumble\[export\]"):
        exporting.check(tmp_path / "a.onnx")


def test_editors_that_cannot_be_exported_are_named(model: Any, editor: Editor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="told its task by a prompt"):
        exporting.export(editor_of(model, text=16), model, tmp_path / "a.onnx")
    other = editor_of(model)
    other.probe.mul_(-1)  # type: ignore[operator]
    other._checked.clear()
    with pytest.raises(InputError, match="the codec of .* is another one"):
        exporting.export(other, model, tmp_path / "a.onnx")

    class Bare:
        card = model.card

    with pytest.raises(InputError, match="has no codec"):
        exporting.export(editor, Bare(), tmp_path / "a.onnx")  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_other_pictures_is_refused(editor: Editor, model: Any) -> None:
    network = exporting.Exportable(editor, model).eval()
    exporting._agree("ONNX", network, network)
    with pytest.raises(MachineError, match="the ONNX file gives other pictures than PyTorch"):
        exporting._agree("ONNX", network, lambda picture, *_: 255 - picture)


def test_a_file_that_fails_leaves_nothing(
    editor: Editor, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(program: Any, network: Any) -> bytes:
        raise MachineError("export: no")

    monkeypatch.setattr(exporting, "_program", lambda network: None)
    monkeypatch.setattr(exporting, "_as_onnx", lambda program, network: b"onnx")
    monkeypatch.setattr(exporting, "_as_program", fail)
    with pytest.raises(MachineError):
        exporting.export(editor, model, tmp_path / "both")
    assert list(tmp_path.iterdir()) == []
