"""The drawings: their captions, their true edits, what damages them, and the bench over them."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble import InputError, cli
from scumble.bench.rows import read_rows
from scumble.bench.run import Bench
from scumble.bench.stages import Stages, framing
from scumble.cli.bench import DRAWINGS_FRAME, finished
from scumble.core.pixels import SAME
from scumble.measuring.drawings import HOME, SPLITS, drawing_tasks
from scumble.measuring.judge import judge
from scumble.measuring.tasks import DATA
from scumble.scenes import Constraints, read, unknown_words

from .conftest import AnyPrompt, contestant, run

ENTRIES = [json.loads(line) for line in (HOME / DATA).read_text(encoding="utf-8").splitlines()]
KINDS = ("recolour", "reshape", "background", "remove", "add")


def test_the_set_is_balanced():
    assert len({entry["id"] for entry in ENTRIES}) == len(ENTRIES) == 120
    assert set(Counter((e["split"], e["kind"]) for e in ENTRIES).values()) == {12}
    assert set(Counter((e["split"], e["program"]) for e in ENTRIES).values()) == {10}
    listed = {entry[role] for entry in ENTRIES for role in ("image", "truth", "mask")}
    files = [*(HOME / "pictures").iterdir()]
    assert {file.relative_to(HOME).as_posix() for file in files} == listed
    assert sum(file.stat().st_size for file in files) < 1_500_000


def said(caption: str) -> Constraints:
    assert not unknown_words(caption)
    return read(caption)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_captions_say_what_the_edit_changes_and_nothing_else(entry: dict):
    before, after = said(entry["source"]), said(entry["target"])
    old, new = list(before.things), list(after.things)
    gone = [thing for thing in old if thing not in new]
    come = [thing for thing in new if thing not in old]
    assert (before.background != after.background) == (entry["kind"] == "background")
    assert (len(gone), len(come)) == {"background": (0, 0), "remove": (1, 0), "add": (0, 1)}.get(
        entry["kind"], (1, 1)
    )
    if entry["kind"] in ("recolour", "reshape"):
        changed = {
            a for a in ("shape", "colour", "size", "place") if getattr(gone[0], a) != getattr(come[0], a)
        }
        assert changed == {"colour" if entry["kind"] == "recolour" else "shape"}
    assert all(thing.colour and thing.shape for thing in (*old, *new))
    assert len(old) == (2 if entry["kind"] == "remove" else 1 if entry["kind"] == "add" else len(new))


@pytest.mark.parametrize("n", [5, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("split", SPLITS)
def test_a_true_edit_changes_its_mask_alone_and_succeeds(split: str, n: int | None):
    tasks = drawing_tasks(split, n)
    assert tuple(task.kind for task in tasks.all[:5]) == KINDS
    assert [task.index for task in tasks.all] == [*range(n or 60)]
    for task in tasks.all:
        known = task.look()
        height, width = known.source.shape[:2]
        assert 90 <= min(width, height) <= max(width, height) <= 1200
        assert (len(known.truths) > 9) == (task.kind == "add")
        for truth, mask in zip(known.truths, known.masks, strict=True):
            assert (truth[~mask] == known.source[~mask]).all()
            assert mask.sum() == known.masks[0].sum()  # nothing was moved out of the picture
            assert (truth[mask] != known.source[mask]).any(-1).mean() > 0.3
        right = judge(known, known.truths[-1], known.source)
        assert (right.success, right.joint, right.left) == (True, True, 0)


def test_splits_share_nothing():
    ids = [{task.id for task in drawing_tasks(split, 10).all} for split in SPLITS]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("n", [0, 61])
def test_a_number_that_there_is_not(n: int):
    with pytest.raises(InputError, match=f"n: {n} is not a number of drawings from 1 to 60"):
        drawing_tasks("test", n)


def test_an_unknown_split():
    with pytest.raises(InputError, match="there is no 'tset' .did you mean 'test'.*validation and test"):
        drawing_tasks("tset")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the first two drawings of the validation split."""
    some = [entry for entry in ENTRIES if entry["split"] == "validation"][:2]
    (tmp_path / "pictures").mkdir()
    for entry in some:
        for role in ("image", "truth", "mask"):
            shutil.copy(HOME / entry[role], tmp_path / entry[role])
    (tmp_path / DATA).write_text("\n".join(map(json.dumps, some)) + "\n")
    return tmp_path


def damage_nothing(home: Path) -> None:
    assert len(drawing_tasks("validation", home=home).all) == 2


def lose_list(home: Path) -> None:
    (home / DATA).unlink()


def cut_list(home: Path) -> None:
    (home / DATA).write_text((home / DATA).read_text()[:-9])


def forget_key(home: Path) -> None:
    entry = json.loads((home / DATA).read_text().splitlines()[0])
    del entry["mask"]
    (home / DATA).write_text(json.dumps(entry))


def lose_picture(home: Path) -> None:
    next((home / "pictures").glob("*-truth.*")).unlink()


def cut_picture(home: Path) -> None:
    file = next((home / "pictures").glob("*-truth.*"))
    file.write_bytes(file.read_bytes()[:60])


def other_mask(home: Path) -> None:
    Image.new("1", (5, 5), 1).save(next((home / "pictures").glob("*-mask.png")))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_list, "cannot be read"),
        (cut_list, "line 2: not a JSON object"),
        (forget_key, "line 1: not a drawing, which has id, split"),
        (lose_picture, "-truth.*: missing, or cannot be read"),
        (cut_picture, "this picture, its true edit or its mask is damaged"),
        (other_mask, "this picture, its true edit or its mask is damaged"),
    ],
)
def test_missing_and_damaged_files(home: Path, damage, message: str):
    damage_nothing(home)
    damage(home)
    with pytest.raises(InputError, match=message + ".*; the drawings come with scumble: install it again"):
        drawing_tasks("validation", home=home)


def test_the_bench_runs_over_any_size_and_goes_on(prior: AnyPrompt, tmp_path: Path):
    bench = Bench(out=tmp_path, back=False)
    asked = finished(contestant("dds:steps=2"))
    assert asked.label == "dds:steps=2+layer"
    frames = [finished(c).label for c in framing([asked], names=DRAWINGS_FRAME)]
    assert frames == ["copy+layer", "ceiling+layer"]
    few, more = (Stages(prior, drawing_tasks("validation", n)) for n in (2, 3))
    first = drawing_tasks("validation", 1).all[0].look().source.shape
    for label in (*frames, asked.label):
        rows = run(bench, few, label)
        assert [row["kind"] for row in rows] == list(KINDS[:2])
        output = np.asarray(Image.open(tmp_path / rows[0]["output"]))
        assert output.shape == first
        assert rows[0]["scores"]["found"] is None
        assert rows[0]["scores"]["success"] is (label == "ceiling+layer")
        assert label != "copy+layer" or rows[0]["scores"]["preserved"] == SAME
    assert [row["kind"] for row in run(bench, more, asked.label)] == list(KINDS[:3])


def test_a_run_that_was_cut_off_is_finished(prior: AnyPrompt, tmp_path: Path):
    bench, stages = Bench(out=tmp_path, back=False), Stages(prior, drawing_tasks("validation", 3))
    copy = contestant("copy")
    whole = run(bench, stages, "copy")
    path = bench.file(copy)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    assert [row["scores"] for row in run(bench, stages, "copy")] == [row["scores"] for row in whole]
    assert len(read_rows(path)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "train"], "--split train: there are test and validation"),
        (["--n", "61"], "n: 61 is not a number of drawings from 1 to 60"),
        (
            ["--method", "dds+exact"],
            "--method dds+exact: +reduced and +exact exist only for edits of the scenes",
        ),
    ],
)
def test_what_the_command_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["bench", "drawings", "--method", "dds", *arguments]) == 2
    assert message in capsys.readouterr().err
