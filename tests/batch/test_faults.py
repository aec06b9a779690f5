"""A manifest of two hundred rows with every kind of fault among them: each is in the table, with its rows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.batch import check as checking
from scumble.batch.check import Checked, check, table
from scumble.batch.manifest import read
from scumble.batch.rows import Namer, Reading
from scumble.core.prior import Card
from scumble.editing.recipe import Recipe

from .conftest import COLOURS

WORDS = frozenset([*COLOURS, "a", "circle", "star"])
CARD = Card(
    id="few", hash="0", domain="Shapes.", words=WORDS, size=16, multiple=2,
    capabilities=frozenset({"text", "gradient", "control"}), method="sdedit",
)  # fmt: skip
ROWS, EVERY = 200, 4  # every fourth row has a fault
FAULTS: list[tuple[dict[str, Any], str]] = [
    # Files
    ({"image": "in/none.png"}, "none.png: no such file"),
    ({"image": "in"}, "in: a folder, not a picture"),
    ({"image": "in/text.png"}, "text.png: not a PNG, JPEG or WebP picture"),
    ({"image": "in/empty.png"}, "empty.png: the file is empty"),
    ({"image": "in/cut.png"}, "cut.png: broken or truncated picture"),
    ({"image": None}, "image: missing"),
    ({"mask": "in/none.png"}, "none.png: no such file"),
    ({"mask": "in/small.png"}, "small.png: 10x10 pixels, but the picture has 64x48"),
    ({"mask": "in/cut.png"}, "cut.png: broken or truncated picture"),
    ({"method": "ilvr", "reference": "in/none.png"}, "none.png: no such file"),
    ({"given": {"direction": "in/none"}}, "direction"),
    # Words
    ({"target": "a zebra"}, "does not know 'zebra'"),
    ({"source": "a unicorn"}, "does not know 'unicorn'"),
    ({"negative": "blurry"}, "does not know 'blurry'"),
    ({"target": None}, "target: empty"),
    ({"method": "dds", "source": None}, "source: empty; dds needs a prompt"),
    # Values
    ({"settings.steps": 0}, "steps: 0 must be at least 1"),
    ({"settings.steps": "many"}, "steps: 'many'"),
    ({"settings": {"strength": 1.5}}, "strength: 1.5"),
    ({"settings.stepz": 3}, "sdedit has no parameter 'stepz' (did you mean 'steps'?)"),
    ({"seed": -1}, "seed: -1 is not a whole number"),
    ({"seed": "seven"}, "seed: 'seven' is not a whole number"),
    ({"keep": 7}, "keep: 7"),
    ({"crop": "tight"}, "crop: 'tight'"),
    ({"size": -64}, "size: -64"),
    ({"form": "blob"}, "form: 'blob'"),
    # Methods and models
    ({"method": "dsd"}, "'dsd'"),
    ({"method": "ilvr"}, "reference: missing"),
    ({"method": "diffedit", "reference": "in/p1.png"}, "reference: diffedit takes no reference picture"),
    ({"method": "blended_latent_diffusion"}, "mask: missing"),
    # Rows
    ({"colour": "red"}, "column 'colour': no such field"),
    ({"id": "r000"}, "the same output name, r000.png, as row 1"),
    ({"seed": 0}, "the same edit as row 1"),
]


@pytest.fixture
def checked(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checked:
    Image.new("L", (10, 10), 255).save(pictures / "small.png")
    (pictures / "text.png").write_text("no picture")
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "cut.png").write_bytes((pictures / "p0.png").read_bytes()[:-20])
    lines: list[str] = []
    for i in range(ROWS):
        row: dict[str, Any] = {"id": f"r{i:03}", "image": "in/p0.png", "source": "a red circle"}
        row |= {"target": "a red star", "seed": i}
        if i % EVERY == 1:
            row |= FAULTS[i // EVERY % len(FAULTS)][0]
        lines.append(json.dumps(row))
    lines[-1] = '{"id": "r199", '
    manifest = tmp_path / "edits.jsonl"
    manifest.write_text("\n".join(lines))
    monkeypatch.setattr(checking, "_card_of", lambda asked: CARD)
    return check(read(manifest), Reading(Recipe(""), tmp_path), Namer(None))


def test_every_fault_is_in_the_table(checked: Checked) -> None:
    faulty = {i + 1: FAULTS[i // EVERY % len(FAULTS)][1] for i in range(1, ROWS, EVERY)}
    faulty[ROWS] = "not JSON"
    found = {fault.row: fault.message for fault in checked.faults}
    assert len(found) == len(checked.faults)  # one for each: no fault hides behind another's
    assert found.keys() == faulty.keys()
    assert {row: said for row, said in found.items() if faulty[row] not in said} == {}
    assert len(checked.rows) == ROWS - len(faulty)


def test_rows_with_one_fault_share_a_line(checked: Checked) -> None:
    lines = table(checked.faults)
    assert lines[0].startswith("rows 2, 26, 38, 134, 158, 170: ")  # none.png, as picture, mask and reference
    rows = [int(row) for line in lines for row in re.findall(r"\d+", line.partition(":")[0])]
    assert sorted(rows) == sorted(fault.row for fault in checked.faults)


MORE: list[tuple[dict[str, Any], str]] = [
    # Values of the wrong kind
    ({"settings": "steps=2"}, "settings: 'steps=2' is not an object of values by name"),
    ({"settings": [1]}, "settings: [1] is not an object of values by name"),
    ({"given": "inversion=x"}, "given: 'inversion=x' is not an object of values by name"),
    ({"lora": [3]}, "lora: (3,) is not a list of files"),
    ({"lora": 3}, "lora: 3 is not a list of files"),
    ({"seed": float("inf")}, "seed: inf is not a whole number"),
    ({"method": "npi", "given.inversion": "9" * 5000}, "9: no such file"),
    ({"method": "classifier_guidance", "given.classifier": "9" * 5000}, "9: no config.json there"),
    # Values that are there twice, and those that nothing uses
    ({"settings": {"steps": 2}, "settings.steps": 3}, "settings.steps: settings has it, too; leave one"),
    ({"settings.steps": 3, "settings": {"steps": 2}}, "settings.steps: settings has it, too; leave one"),
    ({"given": {"inversion": "in/none.inv"}}, "given: sdedit takes no 'inversion', only tuned"),
]


@pytest.mark.parametrize(("change", "message"), MORE)
def test_such_a_row_is_a_fault_and_ends_nothing(
    change: dict[str, Any], message: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"image": "in/p0.png", "source": "a red circle", "target": "a red star"}
    (tmp_path / "m.jsonl").write_text(f"{json.dumps({**row, **change})}\n{json.dumps(row)}\n")
    monkeypatch.setattr(checking, "_card_of", lambda asked: CARD)
    found = check(read(tmp_path / "m.jsonl"), Reading(Recipe(""), tmp_path), Namer(None))
    assert [each.number for each in found.rows] == [2]
    (fault,) = found.faults
    assert message in fault.message
