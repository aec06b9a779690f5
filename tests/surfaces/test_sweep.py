"""The sweep: its axes, its cells on the disk and on the sheet, and going on where it stopped."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble import cli
from scumble.cli import sweep as command
from scumble.cli.axes import axes, columns
from scumble.core.errors import InputError, MachineError
from scumble.editing import plan as planning
from scumble.editing.passport import passport_of
from scumble.editing.plan import Plan
from scumble.editing.recipe import Recipe
from scumble.editing.sweep import CellResult, Variant, framed, variants
from scumble.pictures import reading, writing

WORDS = ["--source", "a red circle", "--target", "a blue circle"]
EDIT = Recipe("in.png", method="dds", target="b", source="a")
Sweep = Callable[..., int]


@pytest.fixture
def sweep(png: Path, loaded: list[str]) -> Sweep:
    """sweep(flags...): the exit code of a sweep of the circle by the tiny model, two steps a cell."""

    def run(*flags: str, words: list[str] = WORDS) -> int:
        steps = [] if any("steps=" in flag for flag in flags) else ["--steps", "2"]
        return cli.run(["sweep", str(png), *words, *steps, *flags])

    return run


def cells(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "sheet.png")


# Axes ----------------------------------------------------------------------------------------------------


def test_axes_are_read_in_order() -> None:
    read = axes(
        [
            "guidance=3, 7.5,3.0",
            "seed=0-2",
            "keep=auto,0.1,none",
            "target=a, red star|b",
            "steps=5",
            "steps=6",
        ]
    )
    assert list(read) == ["guidance", "seed", "keep", "target", "steps"]
    assert read == {
        "guidance": [3, 7.5], "seed": [0, 1, 2], "keep": ["auto", 0.1, "none"], "target": ["a, red star", "b"],
        "steps": [5, 6],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["guidance", "guidance=", "=3", "guidance=3,,4", "guidance=,", "seed=a", "seed=3-1"]
)
def test_axes_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="--over|seed"):
        axes([text])


@pytest.mark.parametrize(
    ("over", "settings", "message"),
    [
        ("guidence=3", {}, r"dds: no parameter 'guidence' \(did you mean 'guidance'\?\)"),
        ("strength=0.5", {}, "no parameter 'strength'.*known are alpha_exp"),
        ("steps=0,5", {}, "steps: 0 must be at least 1"),
        ("steps=5", {"steps": 3}, "--set steps: --over sweeps it"),
        ("steps=5", {"eta": 1.0}, "no parameter 'eta'"),
        ("steps=5", {"seed": 1}, "no parameter 'seed'"),
        ("method=dds,ddss", {}, "did you mean 'dds'"),
        ("seed=0-999|2000", {}, "more than 1000 cells"),
    ],
)
def test_sweeps_that_make_no_sense(over: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        variants(axes([over]), replace(EDIT, settings=settings))


def test_a_parameter_is_combined_only_with_methods_that_have_it() -> None:
    swept = axes(["method=dds,sdedit", "strength=0.3,0.6", "steps=5,9"])
    found = variants(swept, replace(EDIT, settings={"t_low": 60}))
    assert [dict(v.values) for v in found] == [
        {"method": "dds", "steps": 5},
        {"method": "dds", "steps": 9},
        {"method": "sdedit", "strength": 0.3, "steps": 5},
        {"method": "sdedit", "strength": 0.3, "steps": 9},
        {"method": "sdedit", "strength": 0.6, "steps": 5},
        {"method": "sdedit", "strength": 0.6, "steps": 9},
    ]
    assert found[0].recipe == replace(EDIT, settings={"t_low": 60, "steps": 5})
    assert found[2].recipe == replace(EDIT, method="sdedit", settings={"strength": 0.3, "steps": 5})
    assert columns(swept, len(found)) is None
    assert columns(axes(["guidance=1,2,3", "steps=5,9"]), 6) == 2


def test_a_method_is_given_only_what_it_takes() -> None:
    given = {"inversion": 1, "bank": 2}
    found = variants(axes(["method=npi,dds_fast"]), replace(EDIT, given=given))
    assert [v.recipe.given for v in found] == [{"inversion": 1}, {"bank": 2}]
    found = variants(axes(["method=npi,dds_fast"]), replace(EDIT, given={"inverison": 1}))
    assert [v.recipe.given for v in found] == [{"inverison": 1}] * 2  # the plan refuses it


def test_files_are_told_apart_and_found_again() -> None:
    odd = [
        "a/b",
        "a b",
        "A B",
        "a*b",
        "..",
        "中" * 300,
        "x" * 300,
        "x" * 301,
        "con",
        "a\x00b",
        "",
        0.1,
        -1,
        3,
        None,
    ]
    names = [Variant({"target": value, "steps": 5}, EDIT).file for value in odd]
    assert len({name.lower() for name in names}) == len(odd)
    assert all(len(name) < 200 and not set(name) & set('/\\:*?"<>| \x00') for name in names)
    assert Variant({"guidance": 7.5, "seed": 3}, EDIT).file == "guidance-7.5_seed-3.png"


# Cells ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cells_ask_about_the_picture_once(
    sweep: Sweep, png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = ["--method", "dds_fast", "--keep", "none"]
    assert sweep(*fast, "--over", "guidance=2,4", "--over", "seed=0,1", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [cell["evaluations"] for cell in records[:4]] == [12, 12, 8, 8]
    assert sweep(*fast, "--over", "guidance=4", "-o", str(tmp_path / "alone")) == 0
    alone, shared = tmp_path / "alone/guidance-4.png", png.parent / "circle.sweep/guidance-4_seed-0.png"
    assert Image.open(alone).tobytes() == Image.open(shared).tobytes()


@pytest.mark.slow
def test_sweep(sweep: Sweep, png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("--over", "guidance=3,5", "--over", "seed=0,1") == 0
    printed = capsys.readouterr()
    folder = png.parent / "circle.sweep"
    names = [f"guidance-{g}_seed-{s}.png" for g in (3, 5) for s in (0, 1)]
    assert printed.out.splitlines() == [str(folder / name) for name in [*names, "sheet.png"]]
    assert "cell 4 of 4: guidance 5, seed 1" in printed.err
    assert cells(folder) == names
    passport = reading.read_passport(folder / names[3])
    assert passport is not None
    assert passport["settings"]["guidance"]["value"] == 5
    assert passport["seed"] == 1
    assert set(passport["measures"]) == {"distance", "direction"}
    sheet = reading.read_passport(folder / "sheet.png")
    assert sheet is not None
    assert sheet["sheet"] == names
    by_hand = tmp_path / "by-hand.png"
    line = [
        "edit",
        str(png),
        *WORDS,
        "--model",
        str(tmp_path / "model"),
        "--steps",
        "2",
        "--guidance",
        "5",
        "--seed",
        "1",
    ]
    assert cli.run([*line, "-o", str(by_hand)]) == 0
    assert Image.open(by_hand).tobytes() == Image.open(folder / names[3]).tobytes()


@pytest.mark.slow
def test_one_model_for_all_cells(sweep: Sweep, loaded: list[str]) -> None:
    flags = ["--over", "method=dds,sdedit", "--over", "target=x|y"]
    assert sweep(*flags) == 2  # --target is given, too
    assert not loaded
    assert sweep(*flags, words=["--source", "a red circle"]) == 0
    assert len(loaded) == 1


@pytest.mark.slow
def test_what_is_finished_is_not_made_again(sweep: Sweep, png: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = png.parent / "circle.sweep"
    assert sweep("--over", "guidance=3,5") == 0
    before = {name: (folder / name).stat().st_mtime_ns for name in cells(folder)}
    made: list[float] = []
    call = Plan.__call__

    def counted(self: Plan, *args: object) -> object:
        made.append(self.method.guidance)  # type: ignore[attr-defined]
        return call(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Plan, "__call__", counted)
    sheet = (folder / "sheet.png").read_bytes()
    assert sweep("--over", "guidance=3,5") == 0
    assert made == []
    assert (folder / "sheet.png").read_bytes() == sheet
    older = passport_of(folder / "guidance-3.png")  # of a version whose method lacked one of today's fields
    assert older["settings"].pop("rate")["from"] == "method"
    with Image.open(folder / "guidance-3.png") as image:
        image.load()
    writing.save(image, folder / "guidance-3.png", older)
    before["guidance-3.png"] = (folder / "guidance-3.png").stat().st_mtime_ns
    assert sweep("--over", "guidance=3,4,5") == 0
    assert made == [4]
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before


@pytest.mark.slow
def test_cells_that_were_made_otherwise(sweep: Sweep, png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = png.parent / "circle.sweep"
    assert sweep("--over", "guidance=3,5") == 0
    first = (folder / "guidance-3.png").read_bytes()
    capsys.readouterr()
    assert sweep("--over", "guidance=3,5", "--set", "rate=0.1") == 2
    printed = capsys.readouterr().err
    assert (
        "guidance-3.png: this file exists already, with other settings (settings rate: 0.048828125 then, 0.1 now)"
        in printed
    )
    assert (folder / "guidance-3.png").read_bytes() == first
    assert sweep("--over", "guidance=3,5", "--set", "rate=0.1", "--overwrite") == 0
    assert (folder / "guidance-3.png").read_bytes() != first


def test_other_files_in_the_way(
    sweep: Sweep, png: Path, circle: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = png.parent / "circle.sweep"
    folder.mkdir()
    circle.save(folder / "sheet.png")
    assert sweep("--over", "guidance=3") == 2
    assert "sheet.png: this file exists already" in capsys.readouterr().err
    (folder / "sheet.png").unlink()
    (folder / "guidance-3.png").write_bytes(b"no picture")
    assert sweep("--over", "guidance=3") == 2
    assert "guidance-3.png: this file exists already" in capsys.readouterr().err
    assert cells(folder) == ["guidance-3.png"]
    assert sweep("--over", "guidance=3", "-o", str(png)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (MachineError("memory: too little"), 3)]
)
def test_stopping_keeps_what_is_finished(
    error: BaseException, code: int, sweep: Sweep, png: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    call = Plan.__call__

    def stopped(self: Plan, *args: object) -> object:
        if self.method.guidance == 5:  # type: ignore[attr-defined]
            raise error
        return call(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "__call__", stopped)
        assert sweep("--over", "guidance=3,5,7") == code
    printed = capsys.readouterr()
    folder = png.parent / "circle.sweep"
    assert "1 of 3 cells are finished; run the same command to continue" in printed.err
    assert printed.out.splitlines() == [str(folder / "guidance-3.png")]
    assert [p.name for p in folder.iterdir()] == ["guidance-3.png"]
    assert sweep("--over", "guidance=3,5,7") == 0
    assert "guidance 3, made before" in capsys.readouterr().err


def test_a_cell_that_fails_does_not_stop_the_others(
    sweep: Sweep, png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--method", "sdedit", "--over", "steps=2,2000", "--json") == 0
    printed = capsys.readouterr()
    good, bad, sheet = map(json.loads, printed.out.splitlines())
    assert "this cell failed: steps: 2000" in printed.err
    assert good["values"] == {"steps": 2}
    assert Path(good["file"]).exists()
    assert "levels for 1 to" in bad["error"]
    assert Path(sheet["file"]).exists()
    assert cells(png.parent / "circle.sweep") == ["steps-2.png"]
    assert sweep("--method", "sdedit", "--over", "steps=2000,3000") == 2
    assert "all cells failed" in capsys.readouterr().err


@pytest.mark.slow
def test_json_and_quiet(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("--over", "keep=auto,none", "--json", "--quiet") == 0
    printed = capsys.readouterr()
    assert all(line.startswith("warning: ") for line in printed.err.splitlines())
    auto, none, _ = map(json.loads, printed.out.splitlines())
    assert none["changed"] == 1
    assert auto["distance"] <= none["distance"]
    assert {type(cell["pareto"]) for cell in (auto, none)} == {bool}
    assert auto["passport"]["keep"] == "auto"


def test_masks_and_models_without_words(sweep: Sweep, png: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (96, 64))
    mask.paste(255, (40, 20, 60, 40))
    mask.save(tmp_path / "mask.png")
    assert sweep("--over", "guidance=3", "--mask", str(tmp_path / "mask.png"), "--size", "16") == 0
    passport = reading.read_passport(png.parent / "circle.sweep/guidance-3.png")
    assert passport is not None
    assert passport["box"] is not None
    assert passport["measures"]["direction"] is not None


def test_only_cells_of_one_target_compete() -> None:
    def made(target: str, distance: float, direction: float | None) -> CellResult:
        record = {"target": target, "distance": distance, "direction": direction}
        return CellResult(Variant({}, EDIT), record, None)

    cells = [made("a", 5, 0.1), made("a", 4, 0.2), made("b", 9, 0.05), made("b", 1, None), made("a", 0, 0)]
    failed = CellResult(Variant({}, EDIT), {"target": "a", "error": "no"}, None)
    assert framed([*cells, failed]) == [False, True, True, False, False, False]


def test_nothing_to_sweep(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep() == 2
    assert "--over: nothing to sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_the_examples_of_the_help(png: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    png.rename(png.with_name("in.png"))
    monkeypatch.chdir(png.parent)
    plan = planning.plan

    def quick(*given: Any, **what: Any) -> Plan:
        made = plan(*given, **what)
        return replace(made, method=replace(made.method, steps=1))  # type: ignore[type-var]

    monkeypatch.setattr(planning, "plan", quick)
    for example in command.EXAMPLES:
        assert cli.run(shlex.split(example)[1:]) == 0
    assert len(cells(Path("in.sweep"))) == 4 + 4
