"""Batches in this process: all faults in one table, every row once, going on where a run stopped."""

import csv
import hashlib
import io
import json
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from scumble import cli
from scumble.batch import making
from scumble.batch.manifest import read
from scumble.core.errors import InputError
from scumble.editing.passport import passport_of
from scumble.editing.plan import Plan

from .conftest import Batch, results, write


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of a method made."""
    calls: list[int] = []
    together = making.together

    def counted(plans: list[Plan], *rest: Any) -> Any:
        calls.append(len(plans))
        return together(plans, *rest)

    monkeypatch.setattr(making, "together", counted)
    return calls


def test_every_row_gets_a_file_with_its_passport(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, called: list[int]
) -> None:
    assert batch(rows) == 0
    out = tmp_path / "out"
    assert called == [4]
    assert {path.name for path in out.iterdir()} == {
        *(f"r{i}.png" for i in range(4)), "results.jsonl", "results.parquet", "summary.json",
        "sheet-edits.jsonl-0001.png",
    }  # fmt: skip
    for i, (id, record) in enumerate(results(out).items()):
        assert (record["row"], record["id"], record["error"]) == (i + 1, id, None)
        assert record["sha256"] == hashlib.sha256((out / record["output"]).read_bytes()).hexdigest()
        passport = passport_of(out / record["output"])
        assert (passport["seed"], passport["target"]) == (7 * i, "b")
        assert passport["row"] == record["identity"]
        assert record["evaluations"] == passport["evaluations"] > 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["made"], summary["failed"], summary["left"]) == (4, 0, 0)


def test_rows_are_those_of_single_edits(batch: Batch, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    assert batch(rows, "--batch", 1) == 0
    alone = tmp_path / "alone.png"
    line = ["edit", tmp_path / "in/p2.png", "--source", "a green", "--target", "b", "--seed", 14]
    assert cli.run([*map(str, line), "--method", "sdedit", "--set", "steps=4", "-o", str(alone)]) == 0
    assert Image.open(alone).tobytes() == Image.open(tmp_path / "out/r2.png").tobytes()


def test_the_table_of_results(batch: Batch, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert batch(rows) == 0
    table = parquet.read_table(tmp_path / "out/results.parquet").to_pylist()
    assert [row["id"] for row in table] == ["r0", "r1", "r2", "r3"]
    assert table == sorted(results(tmp_path / "out").values(), key=lambda record: record["row"])


# Faults --------------------------------------------------------------------------------------------------


def faulty(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """A row of every kind of fault behind the good ones."""
    Image.new("L", (10, 10), 255).save(folder / "small.png")
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "p0.png").read_bytes()[:-20])
    good = rows[0]
    faults: list[dict[str, Any]] = [
        {"image": "in/none.png"}, {"image": "in/text.png"}, {"image": "in/cut.png"}, {"mask": "in/small.png"},
        {"settings.steps": 0}, {"settings.stepz": 3}, {"seed": -1}, {"colour": "red"}, {"method": "dsd"},
        {"id": "r1"}, {"target": "c", "method": "dds", "source": ""}, {"seed": 0},
    ]  # fmt: skip
    return [*rows, *({**good, "id": f"bad{i}", "seed": 100 + i, **fault} for i, fault in enumerate(faults))]


MESSAGES = [
    "row 5: .*none.png: no such file",
    "row 6: .*text.png: not a PNG, JPEG or WebP picture",
    "row 7: .*cut.png: broken or truncated picture",
    "row 8: mask .*small.png: 10x10 pixels, but the picture has 64x48",
    "row 9: steps: 0 must be at least 1",
    r"row 10: sdedit has no parameter 'stepz' \(did you mean 'steps'\?\)",
    "row 11: seed: -1 is not a whole number",
    "row 12: column 'colour': no such field",
    "row 13: .*'dsd'.*did you mean",
    "row 14: the same output name, r1.png, as row 2",
    "row 15: source: empty; dds needs a prompt",
    "row 16: the same edit as row 1",
]


def test_all_faults_in_one_table(
    batch: Batch,
    rows: list[dict[str, Any]],
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    assert batch(faulty(rows, pictures)) == 2
    printed = capsys.readouterr()
    for message in MESSAGES:
        assert re.search(message, printed.err), message
    assert "12 rows cannot be made" in printed.err
    assert not (tmp_path / "out").exists()


def test_faults_can_be_skipped(
    batch: Batch, rows: list[dict[str, Any]], pictures: Path, tmp_path: Path
) -> None:
    assert batch(faulty(rows, pictures), "--skip-bad") == 0
    assert set(results(tmp_path / "out")) == {"r0", "r1", "r2", "r3"}
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["rows"], summary["made"], summary["skipped"]) == (16, 4, 12)
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "out/results.parquet").to_pylist()
    assert [row["id"] for row in table[4:]] == [*(f"bad{i}" for i in range(9)), "r1", "bad10", "bad11"]
    assert all(row["error"] for row in table[4:])


def test_unknown_words(
    rows: list[dict[str, Any]], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the built-in model, which knows few words."""
    from scumble.batch.check import check, table
    from scumble.batch.rows import Namer, Reading
    from scumble.core.prior import Card
    from scumble.editing.recipe import Recipe

    manifest = write(pictures.parent / "m.jsonl", [*rows, {**rows[0], "id": "w", "target": "a zebra"}])
    reading = Reading(Recipe("", method="sdedit"), manifest.parent)
    words = frozenset(["a", "b", "red", "blue", "green", "black"])
    card = Card(id="few", hash="", domain="Shapes.", words=words, size=16, multiple=2)
    from scumble.batch import check as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_card_of", lambda asked: card)
        checked = check(read(manifest), reading, Namer(None))
    assert len(checked.rows) == 4
    (line,) = table(checked.faults)
    assert line.startswith("row 5: model 'few' does not know 'zebra'")


def test_a_dry_run_writes_nothing(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(rows, "--dry-run", "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["rows"], about["kinds"]) == (4, 1)
    assert about["evaluations"] > 0
    assert not (tmp_path / "out").exists()


def test_what_fails_does_not_stop_the_others(
    batch: Batch,
    rows: list[dict[str, Any]],
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Broken pixels are found only by decoding them."""
    Image.open(pictures / "p1.png").save(pictures / "p1.webp", lossless=True)
    data = bytearray((pictures / "p1.webp").read_bytes())
    data[30:] = bytes(len(data) - 30)
    (pictures / "p1.webp").write_bytes(data)
    rows[1]["image"] = "in/p1.webp"
    assert batch(rows) == 2
    records = results(tmp_path / "out")
    assert "broken or truncated" in records["r1"]["error"]
    assert [records[f"r{i}"]["error"] for i in (0, 2, 3)] == [None] * 3
    assert "1 rows failed" in capsys.readouterr().err
    assert batch(rows, "--max-errors", 0) == 2
    assert "--max-errors 0: 1 rows failed" in capsys.readouterr().err
    Image.new("RGB", (64, 48)).save(pictures / "p1.webp")
    assert batch(rows, "--max-errors", 0) == 0


def test_a_group_that_breaks_off_loses_nothing_of_the_one_before(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of one group are written beside the next one."""
    together, calls = making.together, list[int]()

    def second_fails(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a defect of ours")
        return together(*args)

    monkeypatch.setattr(making, "together", second_fails)
    assert batch(rows, "--batch", 2) not in (0, 2)
    assert set(results(tmp_path / "out")) == {"r0", "r1"}


# Going on ------------------------------------------------------------------------------------------------


def test_only_what_is_missing_or_changed_is_made(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, pictures: Path, called: list[int]
) -> None:
    assert batch(rows) == 0
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("r*.png")}
    assert batch(rows) == 0
    assert called == [4]
    rows[0]["target"] = "c"
    (tmp_path / "out/r1.png").unlink()
    (tmp_path / "out/r2.png").write_bytes(b"damaged")
    assert batch(rows) == 0
    assert called == [4, 3]
    assert passport_of(tmp_path / "out/r0.png")["target"] == "c"
    assert (tmp_path / "out/r3.png").stat().st_mtime_ns == files[tmp_path / "out/r3.png"]
    image = Image.open(pictures / "p3.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.save(pictures / "p3.png")  # another content under the same name
    assert batch(rows) == 0
    assert called == [4, 3, 1]
    for record in results(tmp_path / "out").values():
        assert (
            record["sha256"] == hashlib.sha256((tmp_path / "out" / record["output"]).read_bytes()).hexdigest()
        )


def test_killed_between_a_file_and_its_record(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, called: list[int]
) -> None:
    assert batch(rows) == 0
    ledger = tmp_path / "out/results.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    before = results(tmp_path / "out")
    ledger.write_bytes(b"".join(lines[:2]) + lines[2][:30])  # killed while it wrote
    assert batch(rows) == 0
    assert called == [4]
    for record in before.values():
        record["warning"] = None  # which the killed run took with it
    after = results(tmp_path / "out")
    assert {id: {**record, "warning": None} for id, record in after.items()} == before
    assert len(ledger.read_text().splitlines()) == 4


@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_result_is_made_again(
    recorded: bool, batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, called: list[int]
) -> None:
    """Its passport may be whole: recorded or not, the file is not taken as good."""
    assert batch(rows) == 0
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in out.glob("r*.png")}
    damaged = bytearray(before["r1.png"])
    begin = damaged.index(b"IDAT") + 4
    end = begin + int.from_bytes(damaged[begin - 8 : begin - 4], "big")
    damaged[end : end + 4] = bytes(4)  # the checksum of the pixels, which Pillow passes over as it decodes
    (out / "r1.png").write_bytes(damaged)
    redone = 1
    if recorded:  # readable, with the row's passport, and another picture
        with Image.open(out / "r2.png") as image:
            info = PngImagePlugin.PngInfo()
            for name, text in image.info.items():
                if isinstance(text, str):
                    info.add_itxt(name, text)
            Image.new("RGB", image.size).save(out / "r2.png", pnginfo=info)
        assert passport_of(out / "r2.png")["row"] == results(out)["r2"]["identity"]
        redone = 2
    else:
        (out / "results.jsonl").unlink()
    called.clear()
    assert batch(rows) == 0
    assert called == [redone]
    for name, record in results(out).items():
        data = (out / f"{name}.png").read_bytes()
        assert record["sha256"] == hashlib.sha256(data).hexdigest()
        with Image.open(out / f"{name}.png") as now, Image.open(io.BytesIO(before[f"{name}.png"])) as then:
            assert levels(now) == pytest.approx(levels(then), abs=1)


def levels(image: Image.Image) -> list[int]:
    """The values of an image's pixels."""
    return [*image.tobytes()]


def test_what_a_killed_run_was_writing_is_removed(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "of").mkdir(parents=True)
    left = [out / f".{name}.123-4.part" for name in ("summary.json", "results.parquet", "other.png")]
    left += [out / "of" / f".{name}.png.5-0.part" for name in ("r1", "r10")]
    for path in left:
        path.write_bytes(b"half")
    assert batch(rows, "--name", "of/{id}.png") == 0
    assert [path.exists() for path in left] == [False, False, True, False, True]


def test_files_of_others_are_not_replaced(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "r1.png").write_bytes(b"mine")
    assert batch(rows) == 2
    assert "r1.png: this file exists already, and this batch has not made it" in capsys.readouterr().err
    (out / "r1.png").unlink()
    assert batch(rows) == 0
    others = [{**row, "seed": 99} for row in rows]
    assert batch(others, name="others.jsonl") == 2
    assert "edits.jsonl has made it" in capsys.readouterr().err
    assert batch(others, "--name", "other-{id}.png", name="others.jsonl") == 0
    assert batch(others, "--overwrite", name="others.jsonl") == 0
    assert passport_of(out / "r1.png")["seed"] == 99


def test_two_manifests_share_a_folder(batch: Batch, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Neither loses its sheet or its lines of the table."""
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out"
    assert batch(rows[:2]) == 0
    sheet = (out / "sheet-edits.jsonl-0001.png").read_bytes()
    assert batch(rows[2:], name="others.jsonl") == 0
    assert (out / "sheet-edits.jsonl-0001.png").read_bytes() == sheet
    assert (out / "sheet-others.jsonl-0001.png").exists()
    table = parquet.read_table(out / "results.parquet").to_pylist()
    assert [row["id"] for row in table] == ["r2", "r3", "r0", "r1"]


def test_a_sheet_takes_no_rows_name(batch: Batch, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows[0]["id"] = "Sheet-edits.jsonl-0001"
    assert batch(rows) == 0
    for record in results(tmp_path / "out").values():
        data = (tmp_path / "out" / record["output"]).read_bytes()
        assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert not (tmp_path / "out/sheet-edits.jsonl-0001.png").exists()


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a group end together, so that it takes two groups to know how fast they are."""
    from scumble.batch import run

    times = iter([100.0, 104.0, 110.0])
    monkeypatch.setattr(run.time, "monotonic", lambda: next(times))
    pace = run.Pace(24)
    assert [pace.step(8) for _ in range(3)] == ["8/24 rows", "16/24 rows, 4 s left", "24/24 rows, 0 s left"]


def test_two_runs_do_not_share_a_folder(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scumble.core.atomic import claimed

    (tmp_path / "out").mkdir()
    with claimed(tmp_path / "out/results"):
        assert batch(rows) == 2
    assert "another run is writing this now" in capsys.readouterr().err


def test_ctrl_c_finishes_the_rows_in_flight(
    batch: Batch, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    together = making.together

    def interrupted(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return together(*args)

    with monkeypatch.context() as patch:
        patch.setattr(making, "together", interrupted)
        assert batch(rows, "--batch", 2) == 130
    assert "2 of 4 rows are done; run the same command to continue" in capsys.readouterr().err
    assert len(results(tmp_path / "out")) == 2

    def twice(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(making, "together", twice)
        assert batch(rows, "--batch", 2) == 130
    assert len(results(tmp_path / "out")) == 2
    assert batch(rows) == 0
    assert len(results(tmp_path / "out")) == 4


# Manifests -----------------------------------------------------------------------------------------------


def test_all_kinds_of_manifest_say_the_same(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    rows = [{**row, "settings.steps": 4, "mask": None} for row in rows]
    expected = [{k: v for k, v in row.items() if v is not None} for row in rows]
    assert [dict(entry.values) for entry in read(write(tmp_path / "m.jsonl", rows))] == expected
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    texts = [{k: str(v) for k, v in row.items()} for row in expected]
    assert [dict(entry.values) for entry in read(tmp_path / "m.csv")] == texts
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "m.parquet")
    assert [dict(entry.values) for entry in read(tmp_path / "m.parquet")] == expected


def test_rows_of_text_and_of_values_are_the_same_edit(tmp_path: Path) -> None:
    from scumble.batch.manifest import Entry
    from scumble.batch.rows import Reading
    from scumble.editing.recipe import Recipe

    text = {
        "image": "a.png", "seed": "3", "keep": "0.1", "settings.steps": "5", "also": "a star:0.5|b", "paper": "true",
        "memory": "slicing|tiling", "given.direction": "cat,dog",
    }  # fmt: skip
    values = {
        "image": "a.png", "seed": 3.0, "keep": 0.1, "settings": {"steps": 5}, "also": [["a star", 0.5], "b"],
        "paper": True, "memory": ["slicing", "tiling"], "given": {"direction": "cat,dog"},
    }  # fmt: skip
    reading = Reading(Recipe("", settings={"guidance": 2}), tmp_path)
    one, other = (reading.recipe(Entry(1, row)) for row in (text, values))
    assert one == other
    assert one.settings == {"guidance": 2, "steps": 5}
    assert one.image == str(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--gpus", 1), "--gpus 1: it is for workers, and there are none; add --workers N"),
        (("--threads", 4), "--threads 4: it is for workers, and there are none; add --workers N"),
        (("--workers", 0, "--gpus", 0.5), "--gpus 0.5: it is for workers"),
        (("--max-errors", -1), "'--max-errors'"),
    ],
)
def test_flags_that_would_do_nothing(
    flags: tuple[object, ...],
    message: str,
    batch: Batch,
    rows: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert batch(rows, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_pictures(tmp_path: Path, pictures: Path) -> None:
    Image.new("L", (64, 48), 255).save(pictures / "p1.mask.png")
    (pictures / "p2.txt").write_text("a green\ncircle\n")
    (pictures / ".hidden.png").write_bytes(b"")
    (pictures / "sub").mkdir()
    (pictures / "p0.png").rename(pictures / "sub/p0.png")
    assert [dict(entry.values) for entry in read(pictures)] == [
        {"image": "p1.png", "mask": "p1.mask.png"},
        {"image": "p2.png", "source": "a green circle"},
        {"image": "p3.png"},
        {"image": "sub/p0.png"},
    ]


def test_results_in_the_folder_of_pictures_are_no_rows(
    loaded: list[str], pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    line = [
        "batch",
        ".",
        "--source",
        "a",
        "--target",
        "b",
        "--method",
        "sdedit",
        "--set",
        "steps=4",
        "--quiet",
    ]
    for _ in range(2):
        assert cli.run([*line, "-o", "edited"]) == 0
        assert len((pictures / "edited/results.jsonl").read_text().splitlines()) == 4
    assert (pictures / "edited/sheet-in-0001.png").exists()
    assert cli.run([*line, "-o", "."]) == 2
    assert "-o .: its pictures are the rows" in capsys.readouterr().err
    assert not (pictures / "results.jsonl").exists()


def test_a_webdataset(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    Image.new("L", (64, 48), 255).save(pictures / "p0.mask.png")
    (pictures / "p0.json").write_text('{"target": "b", "seed": 3}')
    (pictures / "p1.txt").write_text("a blue\n")
    (pictures / "p1.json").write_text("{")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted(pictures.iterdir()):
            tar.add(path, path.name)
    entries = list(read(tmp_path / "shard.tar"))
    assert [dict(entry.values) for entry in entries[:2]] == [
        {
            "id": "p0",
            "image": "shard.tar::p0.png",
            "mask": "shard.tar::p0.mask.png",
            "target": "b",
            "seed": 3,
        },
        {"id": "p1", "image": "shard.tar::p1.png", "source": "a blue"},
    ]
    assert [entry.fault is None for entry in entries] == [True, False, True, True]
    usual = [
        "--method",
        "sdedit",
        "--set",
        "steps=4",
        "--target",
        "c",
        "--source",
        "a",
        "--skip-bad",
        "--quiet",
    ]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shard.tar").rename(tmp_path / "shards/0.tar")
    assert cli.run(["batch", str(tmp_path / "shards"), "-o", str(tmp_path / "out"), *usual]) == 0
    assert set(results(tmp_path / "out")) == {"p0", "p2", "p3"}
    assert passport_of(tmp_path / "out/p0.png")["mask"]["name"] == "mask"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "image,seed\n", "it has no rows"),
        ("m.txt", "a", "its name ends in .csv, .jsonl"),
        ("m.parquet", "a", "this manifest cannot be read"),
        ("m.csv", b"\xff\xfe\x00", "this manifest cannot be read .*; save it as UTF-8"),
        ("m.csv", "image,source\na.png,caf\u00e9\n".encode("latin-1"), "save it as UTF-8"),
        ("m.csv", "image,seed,seed\na,1,2\n", "its header has the column 'seed' twice; rename one"),
        ("m.csv", "image;seed\na;1\n", "its header, 'image;seed', is one column; save it with commas"),
        ("m.csv", "image\tseed\na\t1\n", "is one column; save it with commas"),
    ],
)
def test_manifests_that_are_none(name: str, text: str | bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        list(read(tmp_path / name))
    with pytest.raises(InputError, match="no such file or folder"):
        list(read(tmp_path / "none.csv"))


def test_lines_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"image": "a"}\n\n{\n[1]\n')
    assert [entry.fault for entry in read(tmp_path / "m.jsonl")] == [
        None, "not JSON (Expecting property name enclosed in double quotes: line 2 column 1 (char 2))",
        "not a JSON object of values by column",
    ]  # fmt: skip
    (tmp_path / "m.jsonl").write_text('{"image": "a", "seed": 1, "seed": 2}\n')
    assert [entry.fault for entry in read(tmp_path / "m.jsonl")] == ["not JSON ('seed' is there twice)"]
    (tmp_path / "m.csv").write_text("image\na,b\n")
    assert [entry.fault is None for entry in read(tmp_path / "m.csv")] == [False]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "r1.png"),
        ("{image}-{seed}-{settings.steps}.webp", "p1-7-4.webp"),
        ("{row}/{target}.png", "2/b.png"),
        ("{method}-{source:.3}.png", "sdedit-a b.png"),
    ],
)
def test_names(
    template: str | None, name: str, batch: Batch, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert batch(rows[:2], *(["--name", template] if template else [])) == 0
    assert (tmp_path / "out" / name).exists()


@pytest.mark.parametrize(
    "template", ["{seed}", "{seed}.bmp", "/x/{id}.png", "{id.png", "{id.__class__}.png", "{nothing}.png"]
)
def test_names_that_are_none(
    template: str, batch: Batch, rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(rows, "--name", template) == 2
    assert f"--name {template}: " in capsys.readouterr().err
