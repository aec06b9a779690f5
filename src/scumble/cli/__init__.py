"""The command line: parse, call, show. One file per command.

Not here: anything that another surface would need, such as sheets, recipes, estimates (`pictures`, `editing`).
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from scumble.core.errors import InputError, MachineError

BAD_INPUT, MACHINE, BUG, INTERRUPTED = 2, 3, 1, 130


def main() -> None:
    """The `scumble` command."""
    try:
        code = run()
    except KeyboardInterrupt:  # it came while `run` was already cleaning up
        code = _interrupted()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: the process's own) and return its exit code; never a traceback.

    0: done. 2: the input cannot be used (one line on stderr). 3: not enough memory or disk space, or no network.
    130: interrupted. 1: a bug in scumble.
    """
    import typer

    from scumble.cli.app import app

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = app(args=arguments, prog_name="scumble", standalone_mode=False) or 0
        if code == INTERRUPTED:  # typer has turned Ctrl-C into this code
            raise KeyboardInterrupt
        return code
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except MachineError as error:
        return _complain(str(error), MACHINE)
    except typer.TyperException as error:  # a flag that does not exist, a word where a number belongs
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        if not text:  # no command at all: the help has been shown
            return BAD_INPUT
        return _complain(f"{text.rstrip('.')}. `scumble --help` lists the commands.", BAD_INPUT)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BUG
    except Exception as error:
        if os.environ.get("SCUMBLE_DEBUG"):
            raise
        hint = "set SCUMBLE_DEBUG=1 to see where; please report it with the output of `scumble doctor`"
        return _complain(f"unexpected {type(error).__name__}: {error} ({hint})", BUG)


def _interrupted() -> int:
    return _complain("interrupted; nothing is left half-written", INTERRUPTED)


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"scumble: {' '.join(message.split())}\n")
    return code


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, UserWarning):  # libraries' own deprecations are no business of the user's
        sys.stderr.write(f"warning: {message}\n")
