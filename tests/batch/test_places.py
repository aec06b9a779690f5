"""A batch replaces no file that its rows read, whatever --overwrite says."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble import cli
from scumble.batch.check import Checked
from scumble.batch.ledger import Ledger
from scumble.batch.rows import Row
from scumble.batch.run import Batch as Made
from scumble.editing.recipe import Recipe

from .conftest import Batch

NEVER = "this would overwrite the input of a row; choose another folder or another --name"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(out: Path, name: str, said: str) -> bool:
    return f"{out / name}: {NEVER}" in said


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--overwrite", "--dry-run"]])
def test_no_row_replaces_a_picture(
    more: list[str], batch: Batch, rows: list[dict[str, Any]], pictures: Path, loaded: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = contents(pictures)
    assert batch(rows, "-o", pictures, "--name", "{image}.png", *more) == 2
    assert refused(pictures, "p0.png", capsys.readouterr().err)
    assert contents(pictures) == before


@pytest.mark.parametrize("role", ["image", "mask", "reference", "given"])
@pytest.mark.parametrize("kind", ["itself", "hard", "link"])
def test_no_row_replaces_the_input_of_another(
    role: str, kind: str, batch: Batch, rows: list[dict[str, Any]], pictures: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """By any of its names. What a row with faults reads is an input, too."""
    out = tmp_path / "out"
    out.mkdir()
    at = out / "r0.png"
    Image.linear_gradient("L").resize((64, 48)).save(at)
    name = "out/r0.png"
    if kind != "itself":
        name = "in/other.png"
        at.rename(tmp_path / name)
        if kind == "hard":
            os.link(tmp_path / name, at)
        else:
            at.symlink_to(tmp_path / name)
    field = {"given.inversion" if role == "given" else role: name}
    before = contents(tmp_path / "in"), contents(out)
    assert batch([*rows[:2], {**rows[2], **field, "settings.steps": 0}], "--overwrite", "--skip-bad") == 2
    assert refused(out, "r0.png", capsys.readouterr().err)
    assert (contents(tmp_path / "in"), contents(out)) == before


def test_the_table_of_results_replaces_no_manifest(
    rows: list[dict[str, Any]], pictures: Path, loaded: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    manifest = tmp_path / "results.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), manifest)
    before = manifest.read_bytes()
    line = ["batch", manifest, "-o", tmp_path, "--method", "sdedit", "--set", "steps=4", "--overwrite"]
    assert cli.run([*map(str, line)]) == 2
    assert refused(tmp_path, "results.parquet", capsys.readouterr().err)
    assert manifest.read_bytes() == before


def test_a_sheet_replaces_no_input(batch: Batch, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    sheet = tmp_path / "out/sheet-edits.jsonl-0001.png"
    Image.open(tmp_path / "in/p0.png").save(sheet)
    before = sheet.read_bytes()
    assert batch([{**rows[0], "image": "out/sheet-edits.jsonl-0001.png"}, rows[1]]) == 0
    assert sheet.read_bytes() == before


def test_every_file_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(k, None, Recipe("in.png"), str(k), f"{k}.png") for k in range(50)]
    made = Made(Checked(rows, (), {}, files=[tmp_path / f"in{k}.png" for k in range(50)]), tmp_path, "m.csv")
    stat, asked = Path.stat, list[str]()

    def counted(self: Path, **how: Any) -> os.stat_result:
        asked.append(self.name)
        return stat(self, **how)

    monkeypatch.setattr(Path, "stat", counted)
    for row in rows:
        made._check_input(row.output)
    assert max(map(asked.count, asked)) == 1
    monkeypatch.undo()
    assert made.missing(Ledger(tmp_path)) == rows


def test_a_row_may_edit_the_finished_result_of_another(
    batch: Batch, rows: list[dict[str, Any]], loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused only while that result would be made again."""
    assert batch(rows[:1]) == 0
    further = {**rows[0], "id": "further", "image": "out/r0.png"}
    assert batch([rows[0], further]) == 0
    assert batch([{**rows[0], "settings.steps": 3}, further]) == 2
    assert f"out/r0.png: {NEVER}" in capsys.readouterr().err
