"""The process of a command line: signals at any moment, closed streams, odd names, two processes on one name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scumble import cli
from tests.priors.conftest import pristine  # noqa: F401

SOURCE = str(Path(cli.__file__).parents[2])

# Ctrl-C --------------------------------------------------------------------------------------------------

INTERRUPTING = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
moment, how, *words = sys.argv[1:]

class Lost:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            if how == "raised":
                os.kill(os.getpid(), signal.SIGINT)
            elif how == "lost":
                Lost()
            else:
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt as error:
                    raise ImportError("initialization failed") from error

sys.meta_path.insert(0, Finder())
sys.argv = ["scumble", *words]
runpy.run_module("scumble", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("scumble.cli", "raised"),
        ("scumble.core.errors", "lost"),
        ("scumble.cli.train", "converted"),
        ("torch", "lost"),
        ("torch", "converted"),
        ("diffusers", "converted"),
    ],
)
def test_ctrl_c_during_imports(
    moment: str,
    how: str,
    circle: Image.Image,
    pristine: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    circle.save(tmp_path / "in.png")
    line = ["edit", "in.png", "--source", "a", "--target", "b", "--model", str(pristine), "--method", "dds"]
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTING, moment, how, *line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stdout == ""
    assert [said for said in ended.stderr.splitlines() if said] == [
        "scumble: interrupted; nothing is left half-written"
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


# Streams, names, signals ---------------------------------------------------------------------------------------------


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


@pytest.mark.slow
def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; import scumble.cli as c\n"
        "from scumble.core.atomic import atomic\n"
        "def run():\n"
        "    with atomic(Path('a.png')) as part:\n"
        "        part.write_bytes(b'x'); os.kill(os.getpid(), signal.SIGTERM)\n"
        "c.run = run; c.main()"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True)
    assert ended.returncode == 143, ended.stderr
    assert list(tmp_path.iterdir()) == []
