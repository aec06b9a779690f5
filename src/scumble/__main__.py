"""The `scumble` command; `python -m scumble` is the same. Nothing is imported here before Ctrl-C is heeded."""

import os
import signal


def main() -> None:
    """Imports the command line and runs it. Until it has begun, Ctrl-C simply ends the process."""
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # in the background it is ignored
    if heeded:
        signal.signal(signal.SIGINT, _leave)
    from scumble import cli
    from scumble.cli import app  # noqa: F401  (all commands, before Ctrl-C raises again)

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def _leave(*_: object) -> None:
    """Without an exception: libraries that are being imported catch it, or print it and go on."""
    try:
        os.write(2, b"scumble: interrupted; nothing is left half-written\n")
    finally:  # also where stderr is closed
        os._exit(130)


if __name__ == "__main__":
    main()
