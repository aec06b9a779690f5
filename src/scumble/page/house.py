"""All that the server has: clients, desks and the requests that are known."""

from __future__ import annotations

from collections.abc import Sequence

from scumble.core.errors import InputError
from scumble.page.desk import Desk, Full
from scumble.page.job import Job
from scumble.page.options import Options
from scumble.page.room import Room
from scumble.page.store import Client, Store

REMEMBERED = 50  # requests of one client that have ended


class House:
    """Clients, one desk per model, and requests by client."""

    def __init__(self, options: Options):
        self.options = options
        self.store = Store(options.limits)
        room = Room(options.loaded)
        self.desks = {model: Desk(model, options, room) for model in options.offered}
        self._jobs: dict[str, dict[str, Job]] = {}  # by client

    def start(self) -> None:
        """Load the first model, the others when they are first asked for; the page answers meanwhile."""
        for name, desk in self.desks.items():
            desk.start(load=name == self.options.models[0])

    def close(self) -> None:
        """Stop all work, and delete all pictures."""
        for desk in self.desks.values():
            desk.close()
        self.store.close()

    def desk(self, model: str | None) -> Desk:
        """A model's desk, by default the first. Raises InputError for a model that the page does not have."""
        name = model or self.options.models[0]
        if name not in self.desks:
            raise InputError(f"model: {name!r} is not on this page; it has {', '.join(self.desks)}")
        return self.desks[name]

    def submit(self, job: Job) -> None:
        """Raises `desk.Full` where there is no room, and InputError where a picture of the request is gone."""
        desk, uploads = self.desk(job.asked.model), job.asked.uploads.values()
        job.client.hold(uploads)
        try:
            desk.submit(job)
        except Full:
            job.client.let_go(uploads)
            raise
        jobs = self._jobs.setdefault(job.client.key, {})
        ended = [id for id, each in jobs.items() if each.ended]
        for id in ended[: max(0, len(jobs) - REMEMBERED)]:
            del jobs[id]
        jobs[job.id] = job

    def job(self, client: Client, id: str) -> Job | None:
        """A client's request."""
        return self._jobs.get(client.key, {}).get(id)

    def jobs(self, client: Client) -> Sequence[Job]:
        """All that are remembered of a client."""
        return list(self._jobs.get(client.key, {}).values())

    def place(self, job: Job) -> int:
        """How many requests come before this one."""
        return 0 if job.ended else self.desk(job.asked.model).place(job)

    def forget(self, client: Client) -> None:
        """Stop a client's work, and delete what it has."""
        self._leave(client)
        self.store.forget(client)

    def sweep(self) -> None:
        """Delete what clients who are gone have left."""
        for client in self.store.sweep():
            self._leave(client)

    def _leave(self, client: Client) -> None:
        for desk in self.desks.values():
            desk.leave(client)
        self._jobs.pop(client.key, None)
