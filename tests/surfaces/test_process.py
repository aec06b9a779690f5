"""The process of a command line: closed streams, odd names, no home, two processes on one name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scumble import cli
from scumble.pictures import reading
from tests.priors.conftest import pristine  # noqa: F401

SOURCE = str(Path(cli.__file__).parents[2])

# Streams, names ---------------------------------------------------------------------------------------------


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of sh with $S for the command."""
    env = {
        **os.environ,
        "S": f"{sys.executable} -m scumble",
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
    }
    return subprocess.run(["sh", "-c", line], cwd=folder, env=env, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$S methods > /dev/full", 3),
        ("$S edit none.png --source a --target b 2>&-", 2),
        ("$S methods >&-", 0),
        ("HOME= $S edit in.png --source a --target b --model '~nobody/x'", 2),
        ("$S edit \"$(printf 'a\\377.png')\" --source a --target b", 2),
        ("$S edit '[bold].png' --source a --target b", 2),
        ("$S edit in.png --source a --target b --model '[/x]'", 2),
    ],
)
def test_no_traceback_and_the_right_code(line: str, code: int, circle: Image.Image, tmp_path: Path) -> None:
    circle.save(tmp_path / "in.png")
    ended = shell(line, tmp_path)
    assert ended.returncode == code, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert b"Exception ignored" not in ended.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


# No home -------------------------------------------------------------------------------------------------

HOMELESS = """
import os, pwd, sys
del os.environ["HOME"]
os.environ.pop("HF_HOME", None), os.environ.pop("HF_HUB_CACHE", None)

def unknown(user):
    raise KeyError(user)

pwd.getpwuid = pwd.getpwnam = unknown
from scumble import cli
for line in sys.stdin.read().splitlines():
    print(cli.run(line.split()), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="users are known otherwise there")
def test_a_user_without_a_home(circle: Image.Image, tmp_path: Path) -> None:
    circle.save(tmp_path / "in.png")
    edit = "edit in.png --source a --target b"
    lines = {
        f"{edit} --model ~/none": "there is no such folder",
        f"{edit} --model ~/none.safetensors": "there is no such f",
        f"{edit} --vae ~/x --model a/b": "there is no such file",
        f"{edit} --embedding ~nobody/x --model a/b": "there is no such file",
        f"{edit} --lora ~/x:0.5 --model a/b": "there is no such file",
        f"{edit} --given inversion=~/x --model a/b": "no such file",
        f"{edit} --mask ~/x.png": "no such file",
        f"{edit} -o ~/x/out.png": "no such folder",
        f"{edit} --method ~/x.py:Y": "no such file",
        "edit ~/in.png --source a --target b": "no such file",
        "replay ~/in.png": "no such file",
        f"{edit} --model a/b": "there is no home folder",
        f"{edit} --model a/b:c.safetensors": "there is no home folder",
        "fetch a/b": "there is no home folder",
    }
    ended = subprocess.run(
        [sys.executable, "-c", HOMELESS],
        input="\n".join(lines),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
    )
    said = [line for line in ended.stderr.splitlines() if line.startswith("scumble: ")]
    assert ended.stderr.count("\n") == len(lines), ended.stderr
    for line, told in zip(lines, said, strict=True):
        assert lines[line] in told, line
    assert set(ended.stdout.split()) == {"2", "3"}
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


# Two processes -------------------------------------------------------------------------------------------

MEETING = """
import sys, time
from pathlib import Path
from scumble import cli
from scumble.editing import plan

me, other, *words = sys.argv[1:]
call = plan.Plan.__call__

def meeting(*args, **kwargs):  # both runs have checked their names by then, and neither has saved
    Path(me).touch()
    while not Path(other).exists():
        time.sleep(0.01)
    return call(*args, **kwargs)

plan.Plan.__call__ = meeting
code = cli.run(words)
Path(me).touch()
sys.exit(code)
"""


def together(folder: Path, model: Path, *flags: str) -> list[tuple[int, str, str]]:
    """The same edit with seeds 0 and 1 in two processes; neither ends its work before the other has begun it or has
    been refused."""
    marks = folder.parent / "one", folder.parent / "two"
    words = ["edit", "in.png", "--source", "a", "--target", "b", "--model", str(model), "--method", "dds"]
    words += ["--steps", "1", *flags]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, me, other, *words, "--seed", str(seed)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, (me, other) in enumerate((marks, marks[::-1]))
    ]
    told = [run.communicate() for run in runs]
    for mark in marks:
        mark.unlink()
    return [(run.returncode, out.strip(), err) for run, (out, err) in zip(runs, told, strict=True)]


@pytest.mark.slow
def test_two_processes_on_one_name(
    circle: Image.Image,
    pristine: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    circle.save(folder / "in.png")
    # the default name: both end well, each with a name of its own
    done = together(folder, pristine)
    assert [code for code, _, _ in done] == [0, 0], done
    assert {out for _, out, _ in done} == {"in.dds.png", "in.dds-2.png"}
    for seed, (_, out, _) in enumerate(done):
        passport = reading.read_passport(folder / out)
        assert passport is not None
        assert passport["seed"] == seed
    # the same -o: one gets it, the other is told before its work
    done = together(folder, pristine, "-o", "out.png")
    assert sorted(code for code, _, _ in done) == [0, 2], done
    (winner,) = (seed for seed, (code, _, _) in enumerate(done) if code == 0)
    assert "out.png: another run is writing this now; choose another name" in done[1 - winner][2]
    passport = reading.read_passport(folder / "out.png")
    assert passport is not None
    assert passport["seed"] == winner
    assert sorted(p.name for p in folder.iterdir()) == ["in.dds-2.png", "in.dds.png", "in.png", "out.png"]
