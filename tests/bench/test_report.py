"""Tables from rows whose means are known."""

import csv
import io
import json
from pathlib import Path

import pytest

from scumble.bench.report import gather, report
from scumble.core.errors import InputError

BENCH = {"world": "scenes", "split": "test", "model": "tiny", "hash": "abc", "scumble": "0.1.0", "torch": "2"}
KINDS = ("recolour", "look", "noop")


def row(i: int, method: str, joint: bool, repeat: int = 0, preserved: float = 30.0, **bench: str) -> dict:
    kind = KINDS[i % 3]
    scores = {"found": True, "done": joint, "success": joint, "joint": joint, "preserved": preserved}
    scores |= {"leaked": 0.25, "changed": 2.0 + i, "back": None, "apart": None, "left": 0.1, "codec": 33.0}
    if kind == "noop":
        scores |= {"done": None, "success": None, "joint": None, "leaked": None, "preserved": 50.0}
    if kind == "look":
        scores |= {"joint": None, "preserved": None, "leaked": None}
    return {
        "id": f"test-{i}", "kind": kind, "seed": i, "repeat": repeat, "scores": scores, "method": method,
        "evaluations": 800, "seconds": 1.5, "parameters": {}, "bench": BENCH | bench,
    }  # fmt: skip


def write(
    folder: Path, method: str, good: int, n: int = 30, seeds: int = 1, name: str = "", **bench: str
) -> Path:
    path = folder / f"{name or method.replace(':', '-')}.jsonl"
    made = [row(i, method, i < good, r, 30.0 + good / 10, **bench) for r in range(seeds) for i in range(n)]
    path.write_text("".join(json.dumps(r) + "\n" for r in made))
    return path


def found(text: str) -> dict[tuple[str, str, str], tuple[float, str, str, int]]:
    rows = csv.DictReader(io.StringIO(text))
    return {
        (r["table"], r["row"], r["score"]): (float(r["mean"]), r["low"], r["high"], int(r["n"])) for r in rows
    }


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path, "copy", 0),
        write(tmp_path, "dds", 15, seeds=2),
        write(tmp_path, "sds:steps=3", 3),
    ]


def test_means_and_intervals(files: list[Path]):
    scores = found(report(files, "csv"))
    overall = "Overall, no-ops apart"
    mean, low, high, n = scores[overall, "dds", "joint"]
    assert (mean, n) == (0.5, 10)  # the recolourings alone: a look preserves nothing, a no-op is no edit
    assert 0 < float(low) < 0.5 < float(high) < 1
    assert scores[overall, "dds", "success"][::3] == (0.5, 20)
    assert scores[overall, "dds", "preserved"][::3] == (31.5, 10)
    assert scores[overall, "dds", "noop"][::3] == (2 + sum(range(2, 30, 3)) / 10, 10)
    assert scores[overall, "dds", "evaluations"] == (800, "800", "800", 30)
    assert (overall, "dds", "back") not in scores
    assert scores[overall, "copy", "joint"] == (0, "0", "0", 10)


def test_kinds_and_differences(files: list[Path]):
    scores = found(report(files, "csv"))
    assert scores["By kind: success, %", "dds", "success.look"][::3] == (0.5, 10)
    assert scores["By kind: preserved, dB", "dds", "preserved.noop"][::3] == (50, 10)
    mean, low, high, n = scores["Paired differences to dds", "sds:steps=3", "joint"]
    assert (mean, n) == (pytest.approx(-0.4), 10)
    assert float(low) < -0.4 < float(high) < 0
    assert ("Paired differences to dds", "dds", "joint") not in scores
    turned = found(report(files, "csv", against="sds:steps=3"))
    assert turned["Paired differences to sds:steps=3", "dds", "joint"][0] == pytest.approx(0.4)
    with pytest.raises(InputError, match="--against pds: not among copy, dds, sds:steps=3"):
        report(files, against="pds")


def test_the_exact_score_is_set_against_the_network(tmp_path: Path):
    paths = [write(tmp_path, f"dds+{e}", good) for e, good in (("exact", 24), ("reduced", 9))]
    scores = found(report(paths, "csv"))
    table = "The prior's part: exact score minus network, same edits"
    assert scores[table, "dds+exact", "joint"][0] == pytest.approx(0.5)


def test_markdown(files: list[Path]):
    text = report(files)
    (line,) = (line for line in text.splitlines() if line.startswith("| dds | 30 |"))
    assert " 50.0 [" in line
    assert "| n/a |" in line
    assert "800 |" in line
    widths = {line.count("|") for line in text.split("\n## ")[0].splitlines() if line.startswith("|")}
    assert len(widths) == 1
    assert "scumble 0.1.0" in text
    assert "dds (2 seeds)" in text


def test_latex(files: list[Path]):
    text = report(files, "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") == 5
    assert r"joint, \%" in text
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = table[1 : table.index("}")]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") + 1 for line in rows} == {len(columns)}
        assert len(rows) > 2
    with pytest.raises(InputError, match="--format html: known are md, csv, latex"):
        report(files, "html")


def test_the_sentinels_are_watched(tmp_path: Path, files: list[Path]):
    assert "on the joint score nothing ranks as low as copy" in report(files)
    worse = [write(tmp_path, "resample", 12), *files]
    assert "does not rank the sentinels last: resample is not below sds:steps=3" in report(worse)
    elsewhere = write(tmp_path, "pds", 0, split="validation")  # other edits: not compared
    assert "on the joint score nothing ranks as low as copy" in report([*files, elsewhere])


def test_refusals_count_as_failures_and_are_told(tmp_path: Path):
    path = write(tmp_path, "dds", 30, n=6, seeds=2)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for i, r in enumerate(rows[:3]):  # the first seed of a recolouring, a look and a no-op
        r["scores"] = dict.fromkeys(r["scores"]) | ({"found": False, "success": False} if i < 2 else {})
        r |= {"refused": f"mask: empty {i}", "evaluations": None, "seconds": None}
    rows[0]["scores"]["joint"] = False
    rows[9]["refused_back"] = "the values diverged"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    scores, overall = found(report([path], "csv")), "Overall, no-ops apart"
    assert scores[overall, "dds", "joint"][::3] == (0.75, 2)  # one of two edits failed with one of two seeds
    assert scores[overall, "dds", "success"][::3] == (0.75, 4)
    assert scores[overall, "dds", "preserved"][::3] == (33, 2)  # of the pictures that there are
    assert scores[overall, "dds", "noop"][::3] == (5.5, 2)
    assert scores[overall, "dds", "evaluations"][::3] == (800, 6)
    text = report([path])
    assert "- dds: 3 of 6 edits refused, which is no success; the first: mask: empty 0\n" in text
    assert "- dds: 1 of 6 edits not edited back; the first: the values diverged\n" in text


def test_looks_at_the_test_split_are_told(files: list[Path]):
    assert "measured on" not in report(files)
    (files[0].parent / "test-runs.jsonl").write_text("{}\n{}\n")
    assert "the test split was measured on 2 times" in report(files)
    log = files[0].parent / "test-runs.jsonl"
    assert report([*files, log]) == report(files)  # as in FOLDER/*.jsonl


def test_one_method_with_two_models_is_two_rows(tmp_path: Path):
    paths = [write(tmp_path, "dds", 3), write(tmp_path, "dds", 9, name="better", hash="def")]
    assert list(gather(paths)) == ["dds", f"dds ({tmp_path.name}/better.jsonl)"]
    assert len(gather([paths[0], paths[0]])["dds"]) == 60
