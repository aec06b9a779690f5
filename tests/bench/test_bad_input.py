"""One sentence for everything that cannot be benched."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scumble.bench.contestants import split
from scumble.bench.report import report
from scumble.bench.stages import Stages
from scumble.core.errors import InputError
from scumble.measuring.tasks import MOST, folder_tasks, scene_tasks

from .conftest import SIDE, contestant

GOOD = {"image": "a.png", "source": "a cat", "target": "a dog"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    Image.new("RGB", (30, 40), "blue").save(tmp_path / "tall.png")
    Image.new("L", (40, 30), 255).save(tmp_path / "mask.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    return tmp_path


def listed(folder: Path, *entries: object) -> Path:
    (folder / "data.jsonl").write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries))
    return folder


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (GOOD | {"image": "none.png"}, "none.png: no such file"),
        (GOOD | {"image": "broken.png"}, "broken.png: broken or truncated"),
        (GOOD | {"truth": "none.png"}, "none.png: no such file"),
        (GOOD | {"truth": "tall.png"}, r"tall.png: 30x40 pixels, but .*a.png has 40x30"),
        (GOOD | {"mask": "tall.png"}, "30x40 pixels, but the picture has 40x30"),
        (GOOD | {"mask": "none.png"}, "none.png: no such file"),
        (GOOD | {"sorce": "a cat"}, r"line 2: unknown key 'sorce' \(did you mean 'source'\?\)"),
        (GOOD | {"target": " "}, "line 2: target is ' ', not text"),
        (GOOD | {"target": 3}, "line 2: target is 3, not text"),
        (GOOD | {"id": "../up"}, "line 2: the id '../up' is taken, or not valid"),
        (GOOD | {"id": "000001"}, "line 2: the id '000001' is taken"),
        ({"image": "a.png", "source": "a cat"}, "line 2: target is missing"),
        ("[1]", "line 2: not a JSON object"),
        ("{", "line 2: not a JSON object"),
    ],
)
def test_bad_lists(entry: object, words: str, folder: Path):
    with pytest.raises(InputError, match=words):
        folder_tasks(listed(folder, GOOD, entry))


def test_bad_folders(folder: Path):
    with pytest.raises(InputError, match="no data.jsonl there"):
        folder_tasks(folder)
    with pytest.raises(InputError, match="contains no edits"):
        folder_tasks(listed(folder, ""))
    (folder / "data.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        folder_tasks(folder)


def test_a_report_reads_files(folder: Path):
    with pytest.raises(InputError, match=r"a folder; name the files of the bench in it, .*\*\.jsonl"):
        report([folder])


@pytest.mark.parametrize("n", [0, -1, 3])
def test_more_edits_than_there_are(n: int, folder: Path):
    with pytest.raises(InputError, match=f"n: {n} is not a number of edits from 1 to 2"):
        folder_tasks(listed(folder, GOOD, GOOD), n)
    with pytest.raises(InputError, match=f"from 1 to {MOST}"):
        scene_tasks("test", MOST + 1 if n > 0 else n, SIDE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ddss", "did you mean 'dds'"),
        ("dds:stepps=3", r"no parameter 'stepps' \(did you mean 'steps'\?\)"),
        ("dds:steps=0", "steps: 0 must be at least 1"),
        ("copy:steps=1", "copy has no parameter 'steps'"),
        ("resample:steps=0", "steps: 0 must be at least 1"),
        ("dds+masc", r"there is no \+masc \(did you mean 'mask'\?\); known are \+mask"),
        ("./none.py:Mine", "none.py: no such file"),
        ("dds:steps", "NAME=VALUE"),
        ("", "write it as NAME"),
        (":steps=3", "write it as NAME"),
        ("repaint+mask:steps=3", r"with \+mask at the end"),
    ],
)
def test_bad_methods(text: str, words: str):
    with pytest.raises(InputError, match=words):
        contestant(text).kind()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("dds", ("dds", [], set())),
        ("dds+mask+layer", ("dds", [], {"mask", "layer"})),
        ("sdedit:strength=0.5,steps=20+exact", ("sdedit", ["strength=0.5", "steps=20"], {"exact"})),
        ("dds:rate=1e+3", ("dds", ["rate=1e+3"], set())),
        ("x:window=(1,2),steps=3", ("x", ["window=(1,2)", "steps=3"], set())),
        ("./my.py:Mine:steps=3+mask", ("./my.py:Mine", ["steps=3"], {"mask"})),
        ("a+b/my.py:Mine", ("a+b/my.py:Mine", [], set())),
    ],
)
def test_methods_are_read(text: str, read: tuple):
    name, settings, extras = split(text)
    assert (name, settings, set(extras)) == read


def test_what_the_edits_lack(folder: Path, stages: Stages):
    bare = Stages(stages.whole.prior, folder_tasks(listed(folder, GOOD, GOOD | {"mask": "mask.png"})))
    for text, words in [("dds+mask", "not every edit of the list has a mask"), ("ceiling", "has a truth")]:
        with pytest.raises(InputError, match=words):
            bare.of(contestant(text)).ready(contestant(text))


def test_words_that_the_model_does_not_know(folder: Path, stages: Stages):
    from dataclasses import replace

    prior = stages.whole.prior
    prior.card = replace(prior.card, words=frozenset({"a", "cat"}))
    with pytest.raises(InputError, match="does not know 'dog'"):
        Stages(prior, folder_tasks(listed(folder, GOOD))).whole.ready(contestant("dds"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("", "no finished edit"),
        ("{}\n", "line 1: not a row"),
        ("x\n", "line 1: not a row"),
    ],
)
def test_bad_rows(content: str | None, words: str, tmp_path: Path):
    path = tmp_path / "dds.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        report([path])
