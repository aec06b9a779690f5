"""One model's queue, and the thread that works it off: clients take turns, one request at a time."""

from __future__ import annotations

import gc
import logging
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError, MachineError
from scumble.page.job import Job
from scumble.page.options import Options
from scumble.page.room import Room
from scumble.page.store import Client

if TYPE_CHECKING:
    from scumble.core.prior import Card
    from scumble.page.making import Maker

logger = logging.getLogger("scumble")
_here = threading.local()  # .job: whose work this thread does


class Full(Exception):
    """There is no room in the queue now. The message says when to come again."""


class Desk:
    """The queue of one model. `start` loads the model; requests may come before that is done.

    maker: the loaded model; None before that, and after another desk's has taken its place in memory (`room`). card:
    the model's, from the first time it was loaded on.
    """

    def __init__(self, model: str, options: Options, room: Room | None = None):
        self.model, self.options, self._room = model, options, room or Room()
        self.maker: Maker | None = None
        self.card: Card | None = None
        self.failed = ""  # why the model could not be loaded
        self.current: Job | None = None
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # by client, whose turn is first
        self._changed = threading.Condition()
        self._open = True
        self.started = self.loading = False
        self._thread = threading.Thread(target=self._work, name=f"scumble {model}", daemon=True)

    def start(self, load: bool = True) -> None:
        """Load the model, or do so when it is asked for; then work."""
        self.started, self.loading = True, load
        self._thread.start()

    def close(self) -> None:
        """Stop what runs, drop what waits, and wait for the thread."""
        with self._changed:
            self._open = False
            for job in (*self._all(), self.current):
                if job:
                    job.cancel()
            self._changed.notify_all()
        if self.started:
            self._thread.join(timeout=30)

    def submit(self, job: Job) -> None:
        """Put a request into the queue. Raises Full."""
        limits = self.options.limits
        with self._changed:
            waiting = list(self._all())
            mine = sum(each.client is job.client for each in (*waiting, self.current) if each)
            if mine >= limits.waiting:
                raise Full(f"queue: you have {mine} requests already; wait for one, or cancel it")
            if len(waiting) >= limits.queue:
                raise Full(f"queue: {len(waiting)} requests wait; come again in a minute")
            self._waiting.setdefault(job.client.key, deque()).append(job)
            self._changed.notify_all()

    def place(self, job: Job) -> int:
        """How many requests come before this one, the one that runs included."""
        with self._changed:
            queues = [list(queue) for queue in self._waiting.values()]
            before = 1 if self.current and self.current is not job else 0
        turn = 0
        while any(turn < len(queue) for queue in queues):
            for queue in queues:
                if turn < len(queue):
                    if queue[turn] is job:
                        return before
                    before += 1
            turn += 1
        return 0

    def leave(self, client: Client) -> None:
        """A client is gone: cancel what it has asked for."""
        with self._changed:
            for job in (*self._all(), self.current):
                if job and job.client is client:
                    job.cancel()

    def _all(self) -> Generator[Job]:
        for queue in self._waiting.values():
            yield from queue

    # The thread

    def _work(self) -> None:
        if self.loading:
            with self._room.used(self._let_go, self._check):
                self._load()
        while job := self._next():
            self._do(job)
            with self._changed:
                self.current = None

    def _load(self) -> None:
        """The model, or why there is none."""
        from scumble.page.making import Maker

        self.loading = True
        try:
            maker = Maker.load(self.model, self.options, self._check)
            self.card = (
                maker.prior.card
            )  # it takes a while: nobody must see a model that is loaded without its card
            self.maker, self.failed = maker, ""
        except (InputError, MachineError) as error:
            self.failed = str(error)
        except Exception as error:
            self.failed = unexpected(error)
        finally:
            self.loading = False

    def _let_go(self) -> None:
        """Another model takes this one's place in memory."""
        self.maker = None
        gc.collect()

    def _next(self) -> Job | None:
        """The next request, in turns of the clients; None when the page closes."""
        with self._changed:
            while self._open and not self._waiting:
                self._changed.wait()
            if not self._open:
                return None
            key, queue = self._waiting.popitem(last=False)
            self.current = queue.popleft()
            if queue:
                self._waiting[key] = queue
            return self.current

    def _do(self, job: Job) -> None:
        """All of a request; whatever goes wrong is its message."""
        from scumble.core.request import Cancelled

        _here.job, job.started = job, time.monotonic()
        try:
            self._check()
            with self._room.used(self._let_go, self._check):
                self._make(job)
            job.change(state="done", progress=None)
        except Cancelled:
            job.change(state="cancelled", message="cancelled", progress=None)
        except (InputError, MachineError) as error:
            job.change(state="failed", message=str(error), progress=None)
        except Exception as error:
            job.change(state="failed", message=unexpected(error), progress=None)
        finally:
            _here.job = None
            job.preview = b""
            job.client.let_go(job.asked.uploads.values())
            if job.state == "failed" and (maker := self.maker):
                maker.forget()

    def _make(self, job: Job) -> None:
        """The request's work, by the model that is loaded for it if need be."""
        if self.maker is None:
            job.change(state="loading")
            self._load()
        if self.maker is None:
            raise InputError(self.failed)
        job.change(state="running")
        self.maker.make(job)

    def _check(self) -> None:
        """Raises Cancelled where the request that runs is to stop."""
        if self.current:
            self.current.check(self.options.limits)


def unexpected(error: Exception) -> str:
    """A message without anything of the server in it; the log has the rest, under the same number."""
    number = f"{time.time_ns() // 1000 % 10**9:09d}"
    logger.error("page: error %s", number, exc_info=error)
    return f"unexpected error {number}: a bug in scumble; the page's terminal says more under this number"


@contextmanager
def told() -> Generator[None]:
    """Inside, warnings go to the request whose thread gives them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            job: Job | None = getattr(_here, "job", None)
            if job is None:
                before(message, category, *rest)
            elif issubclass(category, UserWarning):
                job.warnings.append(str(message))

        warnings.showwarning = show
        yield
