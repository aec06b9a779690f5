"""`scumble bench` as it is typed."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from scumble import cli
from tests.priors.conftest import pristine  # noqa: F401

METHODS = ["--method", "dds:steps=2", "--method", "resample:steps=2"]


@pytest.fixture
def model(pristine: Path, tmp_path: Path) -> Path:  # noqa: F811
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def bench(*arguments: object) -> int:
    return cli.run(["bench", *map(str, arguments)])


@pytest.mark.slow
def test_scenes_and_report(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    line = ["scenes", *METHODS, "--model", model, "--split", "validation", "--n", 3, "--seeds", 2, "-o", out]
    assert bench(*line, "--device", "cpu", "--batch", 2) == 0
    printed = capsys.readouterr()
    stems = ["copy", "ceiling", "dds-steps=2", "resample-steps=2"]
    assert printed.out.splitlines() == [str(out / f"{stem}.jsonl") for stem in stems] + [
        str(out / "sheet.png")
    ]
    assert "dds:steps=2: 6/6 edits, 0 min left" in printed.err
    rows = {stem: (out / f"{stem}.jsonl").read_text().splitlines() for stem in stems}
    assert [len(r) for r in rows.values()] == [3, 3, 6, 6]  # what draws no noise has one seed
    for row in map(json.loads, rows["dds-steps=2"]):
        assert Image.open(out / row["output"]).size == (16, 16)
    sheet = Image.open(out / "sheet.png")
    assert sheet.width > 6 * 256  # source, truth and four methods
    before = sorted((p, p.stat().st_mtime_ns) for p in out.rglob("*.*") if p != out / "sheet.png")
    assert bench(*line, "--device", "cpu", "--quiet") == 0  # all is done
    assert capsys.readouterr().err == ""
    assert sorted((p, p.stat().st_mtime_ns) for p in out.rglob("*.*") if p != out / "sheet.png") == before

    files = [out / f"{stem}.jsonl" for stem in stems]
    assert bench("report", *files) == 0
    text = capsys.readouterr().out
    assert "| dds:steps=2 | 3 |" in text
    assert "## Paired differences to dds:steps=2" in text
    assert bench("report", *files, "--format", "csv", "--against", "copy") == 0
    assert capsys.readouterr().out.startswith("table,row,score,mean,low,high,n\n")


@pytest.mark.slow
def test_diffedit_finds_nothing_to_change_in_a_noop(
    model: Path, tmp_path: Path, circle: Image.Image, capsys: pytest.CaptureFixture[str]
):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    circle.save(data / "a.png")
    same = {"image": "a.png", "source": "red", "target": "red", "kind": "noop"}
    entries = [
        same | {"target": "blue", "kind": "recolour"},
        same,
        same | {"source": "blue", "kind": "recolour"},
    ]
    (data / "data.jsonl").write_text("\n".join(map(json.dumps, entries)))
    method = "diffedit:steps=4,draws=2,threshold=0.36"
    line = ["scenes", "--data", data, "--method", method, "--model", model, "--device", "cpu", "--no-frame"]
    assert bench(*line, "-o", out) == 0
    assert f"{method}: 3/3 edits (1 refused), 0 min left" in capsys.readouterr().err
    (path,) = out.glob("*.jsonl")
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    assert [row["refused"] is not None for row in rows] == [False, True, False]
    assert [row["output"] is not None and (out / row["output"]).exists() for row in rows] == [
        True,
        False,
        True,
    ]
    assert (out / "sheet.png").exists()
    assert bench("report", path) == 0
    assert "1 of 3 edits refused, which is no success; the first: mask: empty" in capsys.readouterr().out


@pytest.mark.slow
def test_your_own_pictures(
    model: Path, tmp_path: Path, circle: Image.Image, capsys: pytest.CaptureFixture[str]
):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    circle.save(data / "a.png")
    circle.convert("L").convert("RGB").save(data / "truth.png")
    entries = [{"image": "a.png", "source": "red", "target": "grey"}] * 2
    (data / "data.jsonl").write_text("\n".join(json.dumps(e) for e in entries))
    line = ["scenes", *METHODS, "--model", model, "--device", "cpu", "--data", data, "-o", out]
    assert bench(*line) == 0
    assert not (out / "ceiling.jsonl").exists()  # there is no true edit to make a picture of
    assert bench("report", out / "dds-steps=2.jsonl") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| dds:steps=2"))
    assert [cell.strip() for cell in row.split("|")][3:9] == ["n/a"] * 6

    true = [e | {"truth": "truth.png", "id": f"e{i}"} for i, e in enumerate(entries)]
    (data / "data.jsonl").write_text("\n".join(json.dumps(e) for e in true))
    assert bench(*line[:-1], tmp_path / "true") == 0
    (row, _) = map(json.loads, (tmp_path / "true/ceiling.jsonl").read_text().splitlines())
    assert row["scores"]["left"] is not None
    assert row["scores"]["preserved"] == row["scores"]["codec"] or row["scores"]["preserved"] is not None
    assert row["scores"]["found"] is None
    assert bench(*line) == 2  # the folder holds another list's rows
    assert "it was started with bench.sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scenes"], "Missing option '--method'"),
        (["scenes", "--method", "ddss"], "did you mean 'dds'"),
        (["scenes", "--method", "dds:stepps=3"], "no parameter 'stepps'"),
        (["scenes", "--method", "dds", "--split", "train"], "--split train: there are test and validation"),
        (["scenes", "--method", "dds", "--seeds", "0"], "seeds: 0 must be at least 1"),
        (["scenes", "--method", "dds", "--batch", "0"], "batch: 0 must be at least 1"),
        (["scenes", "--method", "dds", "--n", "0"], "n: 0 is not a number of edits"),
        (["scenes", "--method", "dds", "--method", "dds"], "--method dds: given twice"),
        (["scenes", "--method", "dds", "--data", "none"], "none: no data.jsonl there"),
        (["scenes", "--method", "dds+exact", "--data", "{data}"], "--data: +reduced and +exact"),
        (["scenes", "--method", "dds", "--data", "{data}", "--n", "2"], "from 1 to 1"),
        (["scenes", "--method", "dds+mask", "--data", "{data}"], "not every edit of the list has a mask"),
        (["scenes", "--method", "dds", "-o", "{data}/data.jsonl"], "data.jsonl: cannot be made"),
        (["report"], "Missing argument"),
        (["report", "none.jsonl"], "none.jsonl: no such file"),
        (["report", "none.jsonl", "--format", "html"], "--format html"),
    ],
)
def test_bad_input_costs_one_line(
    arguments: list[str], words: str, model: Path, tmp_path: Path, circle: Image.Image,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    circle.save(data / "a.png")
    (data / "data.jsonl").write_text(json.dumps({"image": "a.png", "source": "red", "target": "grey"}))
    line = [a.format(data=data) for a in arguments]
    line += ["--model", str(model), "--device", "cpu"] if len(line) > 1 and line[0] == "scenes" else []
    before = sorted(tmp_path.rglob("*"))
    assert bench(*line) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""
    assert len([line for line in printed.err.splitlines() if not line.startswith("warning: ")]) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_the_exact_score_and_the_network_on_the_same_edits(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from scumble.bench import exact

    some = [
        scene
        for scene in exact.reduced_scenes()
        if scene.background == "white" and all(t.shape in ("circle", "star") for t in scene.things)
    ]
    monkeypatch.setattr(exact, "reduced_scenes", lambda: tuple(some))
    out = tmp_path / "out"
    methods = [
        "--method",
        "dds:steps=2+exact",
        "--method",
        "dds:steps=2+reduced",
        "--method",
        "resample:steps=2+reduced",
    ]
    line = [
        "scenes",
        *methods,
        "--model",
        model,
        "--n",
        3,
        "--batch",
        2,
        "--no-back",
        "-o",
        out,
        "--device",
        "cpu",
    ]
    assert bench(*line) == 0
    files = sorted(out.glob("dds*.jsonl"))
    assert [f.name for f in files] == ["dds-steps=2+exact.jsonl", "dds-steps=2+reduced.jsonl"]
    exactly, network = ([json.loads(row) for row in f.read_text().splitlines()] for f in files)
    assert [r["id"] for r in exactly] == [r["id"] for r in network]
    assert {r["bench"]["world"] for r in exactly + network} == {"reduced"}
    assert (out / "copy+reduced.jsonl").exists()
    assert (out / "sheet-reduced.png").exists()
    assert len((out / "test-runs.jsonl").read_text().splitlines()) == 5
    capsys.readouterr()
    assert bench("report", *files) == 0
    printed = capsys.readouterr().out
    assert "## The prior's part: exact score minus network, same edits" in printed
    assert "the test split was measured on 5 times" in printed
