"""Memory for so many models: the one that was used longest ago makes room for the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager

PAUSE = 0.1  # seconds between looks at whether who waits is still wanted


class Room:
    """Whose models are in memory, at most `most`; None: as many as there are.

    Every user gives the function that lets its model go. It is called from another user's thread, never while its own
    model is in use.
    """

    def __init__(self, most: int | None = None):
        self._most = most
        self._idle: OrderedDict[Callable[[], None], None] = OrderedDict()  # used longest ago first
        self._busy: set[Callable[[], None]] = set()
        self._changed = threading.Condition()

    @contextmanager
    def used(self, let_go: Callable[[], None], check: Callable[[], None]) -> Generator[None]:
        """Inside, the caller's model may be loaded and used. Waits where all others are in use; `check` is called
        meanwhile, and raises to stop waiting.
        """
        with self._changed:
            while let_go not in self._idle and not self._made():
                check()
                self._changed.wait(PAUSE)
            self._idle.pop(let_go, None)
            self._busy.add(let_go)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(let_go)
                self._idle[let_go] = None
                self._changed.notify_all()

    def _made(self) -> bool:
        """Whether there is room for one more, after letting another one go if need be."""
        if self._most is None or len(self._idle) + len(self._busy) < self._most:
            return True
        if not self._idle:
            return False
        other, _ = self._idle.popitem(last=False)
        other()
        return True
