"""The command line, a surface: one file per command, which parses arguments, calls `editing` and prints. Other surfaces
get rooms of their own beside it: a page is `page`, a batch job is `batch`.

Not here: anything that another surface would need, such as recipes, estimates or sheets (`editing`, `pictures`).
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from scumble.cli import ending
from scumble.cli.ending import INTERRUPTED
from scumble.core.errors import InputError, MachineError

BAD_INPUT, MACHINE, BUG = 2, 3, 1
FULL = {errno.ENOSPC, errno.EIO}


def main() -> None:
    """The entry point of the `scumble` command."""
    sys.unraisablehook = _unraisable
    try:
        ending.heed()
        _streams()
        code = run()
        if not _flushed():
            code = MACHINE
    except KeyboardInterrupt:  # it came before `run` began, or while it was already cleaning up
        _drop_stdout()
        code = _interrupted()
    except SystemExit as ended:
        code = ended.code if _flushed() else MACHINE
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done but what Python does at its end
    sys.exit(code)


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Raise again what a signal raised where Python cannot: in a destructor, at the end of an import."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(0.01, _thread.interrupt_main).start()
    elif issubclass(lost.exc_type, SystemExit) and ending.asked(None):
        threading.Timer(2 * ending.ECHO, _thread.interrupt_main, [signal.SIGTERM]).start()
    else:
        sys.__unraisablehook__(lost)


def _streams() -> None:
    """Make stdout and stderr usable: they accept file names that are not UTF-8, and closed ones are replaced."""
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers, of which the lowest is taken
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape" if name == "stdout" else "backslashreplace")


def _flushed() -> bool:
    """Flush stdout; False if that fails. The rest is then dropped, or Python would report it at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except (OSError, ValueError) as error:
        _drop_stdout()
        _complain(f"output: it could not be written ({error})", MACHINE)
        return False
    return True


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: the process's own) and return its exit code; never a traceback.

    0: done. 2: the input cannot be used (one line on stderr). 3: not enough memory or disk space, or no network.
    130: interrupted. 1: a bug in scumble.
    """
    from scumble.cli.app import app

    ending.forget()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            words = _completed(sys.argv[1:] if arguments is None else arguments)
            code = app(args=words, prog_name="scumble", standalone_mode=False) or 0
        if code == INTERRUPTED:  # typer has turned Ctrl-C into this code
            raise KeyboardInterrupt
        return code
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        code = ending.asked(error)
        if code not in (None, INTERRUPTED):
            raise SystemExit(code) from None
        return _interrupted() if code else _failed(error)


def _completed(words: Sequence[str]) -> list[str]:
    """A bare `--upscale` means `--upscale 2`: typer knows no flags whose value may be left out."""
    pairs = zip_longest(words, words[1:], fillvalue="")
    return [f"{word}=2" if word == "--upscale" and not after.isdigit() else word for word, after in pairs]


def _failed(error: Exception) -> int:
    """Print an error in one line and return its exit code."""
    import typer

    match error:
        case InputError():
            return _complain(str(error), BAD_INPUT)
        case MachineError():
            return _complain(str(error), MACHINE)
        case typer.TyperException():  # a flag that does not exist, a word where a number belongs
            text = error.format_message() if hasattr(error, "format_message") else str(error)
            if not text:  # no command at all: the help has been shown
                return BAD_INPUT
            return _complain(f"{text.rstrip('.')}. `scumble --help` lists the commands.", BAD_INPUT)
        case BrokenPipeError():  # the reader of our output has left
            _drop_stdout()
            return BUG
        case OSError(errno=number) if number in FULL:  # our files say so themselves, so this is stdout
            _drop_stdout()
            return _complain(f"output: it could not be written ({error.strerror})", MACHINE)
        case _:
            return _unexpected(error)


def _unexpected(error: Exception) -> int:
    if os.environ.get("SCUMBLE_DEBUG"):
        raise error
    hint = "set SCUMBLE_DEBUG=1 to see where; please report it with the output of `scumble doctor`"
    return _complain(f"unexpected {type(error).__name__}: {error} ({hint})", BUG)


def _interrupted() -> int:
    return _complain("interrupted; nothing is left half-written", INTERRUPTED)


def _complain(message: str, code: int) -> int:
    _say(f"scumble: {' '.join(message.split())}\n")
    return code


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
    except UnicodeEncodeError:  # a stream that is not ours to set up, and a name that is not UTF-8
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode())
    except (OSError, ValueError):
        pass  # nobody listens


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, UserWarning):  # libraries' own deprecations are no business of the user's
        _say(f"warning: {message}\n")
