"""Signals that end a command line, at any moment, whatever libraries make of them: the right code, nothing left."""

import os
import signal
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


# SIGTERM, and what others make of signals ----------------------------------------------------------------------------


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


SWALLOWING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
from pathlib import Path
import scumble.cli
from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.pictures import reading

number, how, *sys.argv[1:] = sys.argv[1:]

class Lost:
    def __del__(self):
        os.kill(os.getpid(), int(number))

def read_bytes(path, name):
    with atomic(Path("result.png")) as part:
        try:
            part.write_bytes(b"half")
            os.kill(os.getpid(), int(number))
        except BaseException:
            pass
        if how == "again":  # while the first one is being heeded: what `timeout` does
            os.kill(os.getpid(), int(number))
        raise InputError(f"{name}: cannot be read")

def lose(path, name):
    Lost()
    signal.sigtimedwait([], 20)
    raise InputError(f"{name}: cannot be read")

reading.read_bytes = lose if how == "lost" else read_bytes
scumble.cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGINT, "swallowed"),
        (signal.SIGINT, "lost"),
        (signal.SIGTERM, "swallowed"),
        (signal.SIGTERM, "again"),
        (signal.SIGTERM, "lost"),
    ],
)
def test_what_a_library_makes_of_a_signal(number: int, how: str, tmp_path: Path) -> None:
    """A compiled one catches the exception and says that its file cannot be read."""
    ended = subprocess.run(
        [sys.executable, "-c", SWALLOWING, str(int(number)), how, "edit", "in.png", "--source", "a", "--target", "b"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert ended.returncode == 128 + number, ended.stderr
    assert "cannot be read" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
