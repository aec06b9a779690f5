"""What the bench writes: whole rows, the same whatever the batch, never mixed with those of other settings."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scumble.bench.run import TESTS, Bench, trusted
from scumble.bench.stages import Stages, framing
from scumble.core.errors import InputError
from scumble.core.judges import Judge
from scumble.core.pixels import SAME, rms
from scumble.measuring.tasks import MOST, scene_tasks
from scumble.pictures import reading

from .conftest import SIDE, AnyPrompt, contestant, run

DDS = "dds:steps=3"
SPY = """
from dataclasses import dataclass
from scumble.methods.dds import DDS

SEEN = []

@dataclass(frozen=True, kw_only=True)
class Spy(DDS):
    def __call__(self, prior, request, on_step=None):
        SEEN.append(request)
        edit = super().__call__(prior, request, on_step)
        assert all(r.mask is None and r.reference is None and not r.given for r in SEEN)
        return edit
"""
NEEDY = """
from dataclasses import dataclass
from typing import ClassVar
from scumble.core.request import Needs
from scumble.methods.sdedit import SDEdit

@dataclass(frozen=True, kw_only=True)
class Needy(SDEdit):
    needs: ClassVar[Needs] = Needs(reference=True, given=("clip",))

    def __call__(self, prior, request, on_step=None):
        assert request.given["clip"].id == "a clip"
        assert request.reference.equal(request.image)
        return super().__call__(prior, request, on_step)
"""
BOOM = """
from dataclasses import dataclass, replace
from scumble.methods.dds import DDS

@dataclass(frozen=True, kw_only=True)
class Boom(DDS):
    def __call__(self, prior, request, on_step=None):
        edit = super().__call__(prior, request, on_step)
        return replace(edit, raw=edit.raw / 0)
"""
PICKY = """
from dataclasses import dataclass
from scumble.core.errors import InputError
from scumble.methods.dds import DDS

@dataclass(frozen=True, kw_only=True)
class Picky(DDS):
    def __call__(self, prior, request, on_step=None):
        for pair in zip(request.source, request.target):
            if pair in {refused}:
                raise InputError(f"picky: not {{pair[1]}}")
        return super().__call__(prior, request, on_step)
"""


def picture(bench: Bench, row: dict) -> np.ndarray:
    return np.asarray(reading.read(bench.out / row["output"]).rgb)


def lasting(row: dict) -> dict:
    """A row without what differs from run to run."""
    return {k: v for k, v in row.items() if k not in ("seconds", "codec_seconds")}


def test_a_row_says_all_about_an_edit(stages: Stages, tmp_path: Path):
    bench = Bench(out=tmp_path, seeds=2, batch=4)
    rows = run(bench, stages, DDS)
    tasks = stages.whole.tasks.all
    assert [(r["id"], r["repeat"]) for r in rows] == [(t.id, k) for k in range(2) for t in tasks]
    assert [r["seed"] for r in rows] == [k * MOST + i for k in range(2) for i in range(6)]
    for row, task in zip(rows, [*tasks, *tasks], strict=True):
        assert (row["kind"], row["source"], row["target"]) == (task.kind, task.source, task.target)
        assert row["parameters"]["steps"] == {"value": 3, "from": "user"}
        assert row["parameters"]["guidance"] == {"value": 7.5, "from": "method"}
        assert row["evaluations"] == 12
        assert row["seconds"] >= row["codec_seconds"] >= 0
        assert picture(bench, row).shape == (SIDE, SIDE, 3)
        assert row["bench"]["split"] == "validation"
        assert {"model", "hash", "scumble", "torch", "device"} <= row["bench"].keys()
        assert (row["scores"]["back"] is None) == (row["repeat"] == 1)


def test_what_a_method_needs_is_given(stages: Stages, prior: AnyPrompt, tmp_path: Path):
    """Networks by name, recorded by their hash; and the source picture where it follows a reference."""
    file = tmp_path / "needy.py"
    file.write_text(NEEDY)
    needy, bench = f"{file}:Needy:steps=3", Bench(out=tmp_path / "out", back=False)
    with pytest.raises(InputError, match="needs a clip; give it with --given clip="):
        run(bench, stages, needy)
    clip = SimpleNamespace(id="a clip", hash="0123456789", space="latents", noisy=True, check=print)
    assert isinstance(clip, Judge)
    with_clip = Stages(prior, scene_tasks("validation", 3, SIDE), "validation", 3, {"clip": clip})
    rows = run(bench, with_clip, needy)
    assert [row["bench"]["given"] for row in rows] == [{"clip": "0123456789"}] * 3
    assert "given" not in run(bench, with_clip, "dds:steps=1")[0]["bench"]


@pytest.mark.slow
def test_seeds_are_told_apart(stages: Stages, tmp_path: Path):
    bench = Bench(out=tmp_path, seeds=3, back=False)
    rows = run(bench, stages, "sdedit:steps=10")
    for first, second, third in zip(rows[:6], rows[6:12], rows[12:], strict=True):
        assert first["scores"]["apart"] is None
        for row in (second, third):
            apart = rms(picture(bench, first), picture(bench, row))
            assert row["scores"]["apart"] == pytest.approx(apart, abs=1e-4)
            assert apart > 0


@pytest.mark.slow
def test_results_do_not_depend_on_the_batch(stages: Stages, tmp_path: Path):
    one, many = (Bench(out=tmp_path / str(b), batch=b, seeds=2) for b in (1, 4))
    for a, b in zip(run(one, stages, DDS), run(many, stages, DDS), strict=True):
        assert lasting(a) == lasting(b)
        assert np.array_equal(picture(one, a), picture(many, b))


def test_a_run_that_was_cut_off_is_finished(stages: Stages, tmp_path: Path):
    whole, cut = Bench(out=tmp_path / "whole"), Bench(out=tmp_path / "cut", batch=4)
    rows = run(whole, stages, DDS)
    path = cut.file(contestant(DDS))
    path.parent.mkdir()
    lines = whole.file(contestant(DDS)).read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:40])  # the fourth row was being written
    finished = run(cut, stages, DDS)
    assert [*map(lasting, finished)] == [*map(lasting, rows)]
    before = path.read_bytes()
    assert run(cut, stages, DDS) == finished  # nothing is left to do
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["parameters", "model", "edits", "back"])
def test_other_settings_are_refused_by_name(change: str, stages: Stages, tmp_path: Path):
    bench = Bench(out=tmp_path, back=False)
    run(bench, stages, DDS)
    other, now = contestant(DDS), stages
    words = "dds-steps=3.jsonl: it was started with "
    if change == "parameters":
        other = replace(other, settings={"steps": 4})
        words += "parameters.steps.value = 3, which is now 4"
    elif change == "model":
        prior = AnyPrompt()
        prior.card = replace(prior.card, hash="other")
        now = Stages(prior, stages.whole.tasks)
        words += "bench.hash"
    elif change == "edits":
        now = Stages(stages.whole.prior, scene_tasks("test", 6, SIDE))
        words += "bench.split = 'validation', which is now 'test'"
    else:
        bench = Bench(out=tmp_path, back=True)
        words += "bench.back = False"
    before = sorted((p, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file())
    with pytest.raises(InputError, match=words):
        bench.run(now.of(other).ready(other), now.of(other))
    assert sorted((p, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()) == before


def test_more_edits_and_seeds_may_follow(prior: AnyPrompt, tmp_path: Path):
    few, more = (Stages(prior, scene_tasks("validation", n, SIDE)) for n in (2, 3))
    rows = run(Bench(out=tmp_path), few, DDS)
    again = run(Bench(out=tmp_path, seeds=2), more, DDS)
    assert again[:2] == rows
    assert len({(r["id"], r["repeat"]) for r in again}) == len(again) == 6


@pytest.mark.slow
def test_the_frame(prior: AnyPrompt, tmp_path: Path):
    """Nothing edited: joint score 0. The renderer's own truth through an exact codec: 100 %."""
    bench, stages = Bench(out=tmp_path, batch=10), Stages(prior, scene_tasks("validation", 10, SIDE))
    found = {c.name: run(bench, stages, c.label) for c in framing([contestant(DDS)])}
    assert list(found) == ["copy", "resample", "ceiling"]
    given = [contestant(text) for text in ("resample:steps=9", "dds+exact")]
    assert [c.label for c in framing(given)] == [
        "copy",
        "ceiling",
        "copy+reduced",
        "resample+reduced",
        "ceiling+reduced",
    ]
    assert not [c for c in framing(given, has_truths=False) if c.name == "ceiling"]
    joint = {name: [r["scores"]["joint"] for r in rows] for name, rows in found.items()}
    edits = [r["scores"]["joint"] is not None for r in found["copy"]]
    assert sum(edits) == 8  # of ten kinds, a no-op and a look leave nothing to succeed or to preserve
    assert not any(joint["copy"])
    assert [j for j in joint["ceiling"] if j is not None] == [True] * 8
    assert all(r["scores"]["success"] for r in found["ceiling"] if r["kind"] != "noop")
    assert all(r["scores"]["preserved"] in (SAME, None) for r in found["copy"])
    (noop,) = (r for r in found["copy"] if r["kind"] == "noop")
    assert (noop["scores"]["found"], noop["scores"]["changed"]) == (True, 0)
    assert {r["evaluations"] for r in found["resample"]} == {100}


def test_no_method_is_given_what_it_should_find(stages: Stages, tmp_path: Path):
    (tmp_path / "spy.py").write_text(SPY)
    rows = run(Bench(out=tmp_path), stages, f"{tmp_path}/spy.py:Spy:steps=2")
    assert len(rows) == 6
    with pytest.raises(AssertionError):
        run(Bench(out=tmp_path), stages, f"{tmp_path}/spy.py:Spy:steps=2+mask")


def test_rows_with_the_mask_keep_what_is_outside(stages: Stages, tmp_path: Path):
    free, masked = (run(Bench(out=tmp_path), stages, text) for text in (DDS, f"{DDS}+mask"))
    assert all(r["scores"]["preserved"] == SAME for r in masked)
    assert sum(r["scores"]["preserved"] < SAME for r in free) > 3


def test_rows_under_the_layer_are_the_finished_pictures(prior: AnyPrompt, tmp_path: Path):
    tasks = scene_tasks("validation", 3, SIDE)
    bench, stages = Bench(out=tmp_path), Stages(prior, tasks)
    little = "dds:steps=1,rate=0.05"  # no pixel changes so much that the layer takes it for an edit
    raw, laid = (run(bench, stages, f"{little}{extra}") for extra in ("", "+layer"))
    sources = [task.look().source for task in tasks.all]
    assert any(rms(picture(bench, r), s) > 0.1 for r, s in zip(raw, sources, strict=True))
    assert all(rms(picture(bench, r), s) == 0 for r, s in zip(laid, sources, strict=True))
    assert all(r["scores"]["back"] == SAME for r in laid)


def picky(folder: Path, *refused: tuple[str, str]) -> str:
    """DDS that refuses edits of these prompts."""
    (folder / "picky.py").write_text(PICKY.format(refused=set(refused)))
    return f"{folder}/picky.py:Picky:steps=2"


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4, 10])
def test_a_refused_edit_is_a_row(batch: int, prior: AnyPrompt, tmp_path: Path):
    stages = Stages(prior, scene_tasks("validation", 10, SIDE))
    tasks = stages.whole.tasks.all
    refused = {t.id: f"picky: not {t.target}" for t in tasks if t.kind in ("recolour", "look", "noop")}
    assert len(refused) == 3
    text = picky(tmp_path, *((t.source, t.target) for t in tasks if t.id in refused))
    bench = Bench(out=tmp_path / "out", batch=batch)
    rows, free = run(bench, stages, text), run(bench, stages, "dds:steps=2")
    assert {r["id"]: r["refused"] for r in rows} == {t.id: refused.get(t.id) for t in tasks}
    for row, other in zip(rows, free, strict=True):
        assert row["seed"] == other["seed"]
        if row["refused"] is None:
            assert row["scores"] == other["scores"]
            assert np.array_equal(picture(bench, row), picture(bench, other))
            continue
        assert {row[k] for k in ("evaluations", "seconds", "codec_seconds", "output")} == {None}
        assert row["scores"].keys() == other["scores"].keys()
        fails = [] if row["kind"] == "noop" else ["found", "done", "success", "joint"]
        fails = [k for k in fails if other["scores"][k] is not None]
        assert row["scores"] == dict.fromkeys(other["scores"]) | dict.fromkeys(fails, False)
        assert not bench.picture(contestant(text), row["id"]).exists()

    path = bench.file(contestant(text))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))  # ends with a refusal, or goes on with one
    assert [*map(lasting, run(bench, stages, text))] == [*map(lasting, rows)]


def test_an_edit_whose_way_back_is_refused_keeps_its_scores(stages: Stages, tmp_path: Path):
    task = stages.whole.tasks.all[2]
    text, bench = picky(tmp_path, (task.target, task.source)), Bench(out=tmp_path)
    for row, other in zip(run(bench, stages, text), run(bench, stages, "dds:steps=2"), strict=True):
        stuck = row["id"] == task.id
        assert row["refused"] is None
        assert row["refused_back"] == (f"picky: not {task.source}" if stuck else None)
        assert row["scores"] == other["scores"] | ({"back": None} if stuck else {})


@pytest.mark.parametrize("batch", [1, 16])
def test_a_method_that_refuses_every_edit_stops_the_bench(batch: int, prior: AnyPrompt, tmp_path: Path):
    (tmp_path / "boom.py").write_text(BOOM)
    text, stages = f"{tmp_path}/boom.py:Boom:steps=2", Stages(prior, scene_tasks("validation", 12, SIDE))
    with pytest.raises(
        InputError, match="Boom:steps=2: it refuses every edit; the first: the values diverged"
    ):
        run(Bench(out=tmp_path, batch=batch), stages, text)
    assert not Bench(out=tmp_path).file(contestant(text)).exists()


def batches_of(kinds: str) -> Iterator[list[dict]]:
    """Batches of one row: made (m), refused (r), and the same of a no-op (M, R)."""
    for letter in kinds:
        kind = "noop" if letter.isupper() else "recolour"
        yield [{"kind": kind, "refused": "no" if letter in "rR" else None}]


@pytest.mark.parametrize(
    ("kinds", "lengths"),
    [
        ("mrrm", [1, 1, 1, 1]),
        (f"{'r' * 9}Mm{'r' * 20}", [11, *[1] * 20]),
        ("RRR", [3]),  # nothing says that the method is at fault
        ("MMM", [3]),
    ],
)
def test_rows_wait_until_the_method_is_trusted(kinds: str, lengths: list[int]):
    assert [len(rows) for rows in trusted(batches_of(kinds), False, "dds")] == lengths


def test_patience_ends():
    for kinds, left in (("r" * 12, 2), (f"{'r' * 5}M{'r' * 8}", 3), ("rrM", 0)):
        batches = batches_of(kinds)
        with pytest.raises(InputError, match="--method dds: it refuses every edit; the first: no"):
            next(trusted(batches, False, "dds"))
        assert len([*batches]) == left
    assert len([*trusted(batches_of("r" * 12), True, "dds")]) == 12


def test_looks_at_the_test_split_are_logged(prior: AnyPrompt, tmp_path: Path):
    bench = Bench(out=tmp_path, back=False)
    run(bench, Stages(prior, scene_tasks("validation", 1, SIDE)), DDS)
    assert not (tmp_path / TESTS).exists()
    stages, bench = Stages(prior, scene_tasks("test", 1, SIDE)), Bench(out=tmp_path / "test", back=False)
    for text in (DDS, DDS, "copy"):  # the second finds all done
        run(bench, stages, text)
    looks = [json.loads(line) for line in (tmp_path / "test" / TESTS).read_text().splitlines()]
    assert [look["method"] for look in looks] == [DDS, "copy"]
    assert looks[0]["parameters"]["steps"]["value"] == 3
    assert looks[0]["time"].endswith("+00:00")


@pytest.mark.parametrize(("name", "words"), [("seeds", "seeds: 0"), ("batch", "batch: 0")])
def test_bad_numbers(name: str, words: str, tmp_path: Path):
    with pytest.raises(InputError, match=words):
        Bench(out=tmp_path, **{name: 0})


def test_pictures_of_other_sizes_go_in_batches_of_their_own(prior: AnyPrompt, tmp_path: Path):
    from scumble.measuring.tasks import folder_tasks

    sizes = [(64, 64), (64, 64), (100, 60), (60, 100), (64, 64)]
    lines = []
    for i, size in enumerate(sizes):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "source": "a cat", "target": "a dog"}))
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    stages, bench = Stages(prior, folder_tasks(tmp_path)), Bench(out=tmp_path / "out", batch=4)
    rows = run(bench, stages, DDS)
    assert [picture(bench, row).shape[1::-1] for row in rows] == sizes
    assert [row["seed"] for row in rows] == [*range(5)]
    assert all(row["scores"][k] is None for row in rows for k in ("found", "left", "joint", "preserved"))
    assert all(row["scores"]["back"] is not None for row in rows)
