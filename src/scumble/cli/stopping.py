"""Ctrl-C in long work: the first one asks it to stop after what is in flight."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scumble.cli import ending
from scumble.cli.voice import Voice


@contextmanager
def stopping(voice: Voice, after: str = "this step") -> Iterator[Callable[[], bool]]:
    """While open, the first Ctrl-C asks the work to stop `after` something, and the second one interrupts it."""
    asked: list[bool] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            ending.interrupt()
        asked.append(True)
        voice.say(f"stopping after {after} (Ctrl-C again: at once)")

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
