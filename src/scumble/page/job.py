"""A client's request on its way: waiting, running, ended."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from scumble.core.errors import InputError
from scumble.page.asking import Asked
from scumble.page.options import Limits
from scumble.page.store import Client, token

State = Literal["waiting", "loading", "running", "done", "failed", "cancelled"]
ENDED = "done", "failed", "cancelled"


@dataclass(frozen=True)
class Progress:
    """Where the edit that runs is: `cell` of `cells` (from 0), step k of n, and the seconds that are left in all."""

    cell: int
    cells: int
    k: int
    n: int
    left: float
    preview: int = 0  # how many previews there were


@dataclass(eq=False)
class Job:
    """A request. The worker's thread writes to it, the server reads; `version` grows with every change."""

    client: Client
    asked: Asked
    words: bool = False  # heat maps of words, not edits
    id: str = field(default_factory=token)
    state: State = "waiting"
    message: str = ""
    warnings: list[str] = field(default_factory=list[str])
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    progress: Progress | None = None
    preview: bytes = b""
    version: int = 0
    started: float = 0.0
    seen: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Somebody looks at the request."""
        self.seen = self.client.seen = time.monotonic()

    def change(self, **values: Any) -> None:
        """Set fields, and let who watches know."""
        for name, value in values.items():
            setattr(self, name, value)
        self.version += 1

    def cancel(self) -> None:
        """Stop before the next network call, or before it begins."""
        self._stop.set()

    def unwatched(self, limits: Limits) -> bool:
        """Whether nobody has looked at the request for so long that it ends."""
        return time.monotonic() - self.seen > limits.unwatched

    def check(self, limits: Limits) -> None:
        """Raises Cancelled where the work is to stop, and InputError where it takes too long."""
        from scumble.core.request import Cancelled

        if self._stop.is_set() or self.unwatched(limits):
            raise Cancelled
        if time.monotonic() - self.started > limits.longest:
            raise InputError(
                f"time: stopped after {limits.longest:.0f} s, the limit of this page; take fewer steps or edits"
            )

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def told(self, place: int = 0) -> dict[str, Any]:
        """The request as JSON. `place`: how many are before it."""
        now = self.progress
        return {
            "id": self.id,
            "state": self.state,
            "place": place,
            "message": self.message,
            "warnings": list(dict.fromkeys(self.warnings)),
            "progress": now and {**vars(now), "left": round(now.left, 1)},
            "results": list(self.results),
        }
