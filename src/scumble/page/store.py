"""What clients have on the server: pictures and results, in a folder of each client that goes with it."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scumble.core.errors import InputError, MachineError
from scumble.page.options import Limits

LONGEST_NAME = 80
EMPTY = 300.0  # seconds after which a client who has stored nothing is forgotten


@dataclass(frozen=True)
class Upload:
    """A picture as it was uploaded."""

    id: str
    name: str
    size: tuple[int, int]
    file: Path

    def read(self) -> bytes:
        """The file's bytes. Raises InputError where it has been deleted."""
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            raise _gone() from None


@dataclass(frozen=True)
class Result:
    """A finished edit: its files by name ("result.png", "layer.png", ...), and what is told about it."""

    id: str
    files: Mapping[str, Path]
    about: Mapping[str, Any]


@dataclass(eq=False)
class Client:
    """One browser, or one program: what it has uploaded and what was made for it."""

    key: str
    folder: Path
    limits: Limits
    pictures: dict[str, Upload] = field(default_factory=dict[str, Upload])
    results: dict[str, Result] = field(default_factory=dict[str, Result])
    seen: float = field(default_factory=time.monotonic)
    _held: Counter[str] = field(default_factory=Counter[str])  # uploads that requests wait with, by how many
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def upload(self, id: object) -> Upload:
        """Raises InputError for an unknown picture."""
        with self._lock:
            if not isinstance(id, str) or id not in self.pictures:
                raise _gone()
            self.pictures[id] = self.pictures.pop(id)  # the last that was used goes last
            return self.pictures[id]

    def keep(self, data: bytes, name: str, size: tuple[int, int]) -> Upload:
        """Store an upload; where there are too many, the one goes that was not used for longest, but none that is held.

        Raises MachineError where the disk is full.
        """
        upload = Upload(token(), plain_name(name), size, self.folder / token())
        self.folder.mkdir(exist_ok=True)
        try:
            upload.file.write_bytes(data)
        except OSError as error:
            raise MachineError(f"upload: it could not be stored ({error.strerror})") from error
        with self._lock:
            free = [id for id in self.pictures if id not in self._held]
            self.pictures[upload.id] = upload
            for id in free[: max(0, len(self.pictures) - self.limits.pictures)]:
                self.pictures.pop(id).file.unlink(missing_ok=True)
        return upload

    def discard(self, id: str) -> None:
        """Delete an upload, where it is there; the file of one that is held goes when it is let go."""
        with self._lock:
            upload = self.pictures.pop(id, None)
            if upload and id not in self._held:
                upload.file.unlink(missing_ok=True)

    def hold(self, uploads: Iterable[Upload]) -> None:
        """Keep the files of uploads until `let_go`, for a request. Raises InputError for one that is gone."""
        wanted = list(uploads)
        with self._lock:
            if not all(each.id in self.pictures or each.id in self._held for each in wanted):
                raise _gone()
            self._held.update(each.id for each in wanted)

    def let_go(self, uploads: Iterable[Upload]) -> None:
        """A request with these uploads has ended."""
        with self._lock:
            for each in uploads:
                self._held[each.id] -= 1
                if self._held[each.id] < 1:
                    del self._held[each.id]
                    if each.id not in self.pictures:
                        each.file.unlink(missing_ok=True)

    def add(self, result: Result) -> None:
        """Store a result; the oldest goes when there are too many."""
        self.results[result.id] = result
        while len(self.results) > self.limits.results:
            self.drop(next(iter(self.results)))

    def drop(self, id: str) -> None:
        """Delete a result."""
        for file in self.results.pop(id).files.values():
            file.unlink(missing_ok=True)


class Store:
    """All clients. Their folders are in one temporary folder, which `close` deletes."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._root = TemporaryDirectory(prefix="scumble-page-", ignore_cleanup_errors=True)
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    def client(self, key: str | None) -> Client:
        """The client who has the key, else a new one. Raises MachineError where there are too many."""
        with self._lock:
            found = self._clients.get(key or "")
            if found is None:
                if len(self._clients) >= self.limits.clients:
                    raise MachineError("clients: too many are connected; come back in a few minutes")
                found = Client(token(), Path(self._root.name) / token(), self.limits)
                self._clients[found.key] = found
            found.seen = time.monotonic()
            return found

    def forget(self, client: Client) -> None:
        """Delete everything that a client has."""
        with self._lock:
            self._clients.pop(client.key, None)
        client.pictures.clear()
        client.results.clear()
        shutil.rmtree(client.folder, ignore_errors=True)

    def sweep(self) -> list[Client]:
        """Forget the clients who have been away too long, and return them."""
        gone = list(self._left(time.monotonic()))
        for client in gone:
            self.forget(client)
        return gone

    def _left(self, now: float) -> Iterator[Client]:
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            has = client.pictures or client.results
            if now - client.seen > (self.limits.idle if has else min(EMPTY, self.limits.idle)):
                yield client

    def close(self) -> None:
        """Delete the pictures of all clients."""
        with self._lock:
            self._clients.clear()
        self._root.cleanup()


def _gone() -> InputError:
    return InputError("picture: it is not on the server any more; upload it again")


def token() -> str:
    """A name that nobody can guess."""
    return secrets.token_urlsafe(24)


def plain_name(name: str) -> str:
    """A file's name without folders and control characters: what a passport may hold, and a browser may save."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c for c in last if c.isprintable()).strip(" .")
    stem, dot, kind = kept.rpartition(".")
    return (f"{stem[:LONGEST_NAME]}{dot}{kind[:8]}" if stem else kept[:LONGEST_NAME]) or "picture.png"
