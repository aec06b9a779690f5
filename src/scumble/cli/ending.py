"""Signals that end the process. Each raises an exception and is remembered, because a library may catch the exception
and raise another one: compiled ones say "cannot be read" where a signal broke off their reading.
"""

import signal
import time

INTERRUPTED, TERMINATED = 130, 143
ECHO = 1.0
"""Seconds in which a second SIGTERM is the first one's echo: `timeout` sends it to the process and to its group."""

_arrived: dict[int, float] = {}  # exit code -> when


def heed() -> None:
    """Let SIGTERM end the process like an error, so that unfinished files are removed, and remember Ctrl-C."""
    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is ignored
        signal.signal(signal.SIGINT, interrupt)


def terminate(*_: object) -> None:
    before, now = _arrived.get(TERMINATED), time.monotonic()
    if before is None or now - before > ECHO:  # an echo would break off the cleaning up
        _arrived[TERMINATED] = now
        raise SystemExit(TERMINATED)


def interrupt(*_: object) -> None:
    _arrived[INTERRUPTED] = time.monotonic()
    raise KeyboardInterrupt


def forget() -> None:
    """A new command begins."""
    _arrived.clear()


def asked(error: BaseException | None) -> int | None:
    """The exit code of the signal that is behind an error; None where there is none."""
    if _arrived:
        return max(_arrived)
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return INTERRUPTED if error is not None else None
