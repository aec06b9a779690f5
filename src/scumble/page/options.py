"""How the page is served, and what it allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from scumble.core.errors import InputError

PASSWORD_VARIABLE = "SCUMBLE_PAGE_PASSWORD"
SHORTEST_PASSWORD = 8


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them together, may ask for."""

    bytes: int = 50_000_000  # of one uploaded picture
    pixels: int = 50_000_000  # of one uploaded picture
    pictures: int = 30  # that one client has on the server; those unused for longest go
    results: int = 100  # that one client has on the server; the oldest go
    edits: int = 36  # that are asked for at once: targets x seeds x swept values
    waiting: int = 3  # requests of one client that wait or run
    queue: int = 100  # requests that wait for one model
    canvas: int = 2048  # pixels of the long side
    clients: int = 2000
    request: int = 200_000  # bytes of a request that is not a picture
    upload: float = 120.0  # seconds for one upload
    unwatched: float = 20.0  # seconds that an edit goes on after nobody looks at it
    idle: float = 3600.0  # seconds until the pictures of a client who is gone are deleted
    longest: float = 3600.0  # seconds of one request's work


@dataclass(frozen=True, kw_only=True)
class Options:
    """The page's models and address.

    models: names that `scumble.load` takes; the first is the default. Browsers choose among these and `cached`,
        nothing else.
    cached: checkpoints in the hub's cache. They are loaded without the network.
    editors: name -> file of trained editors that browsers may choose.
    loading: how the models are loaded, see `Loading.options`.
    loaded: the most models that are in memory at a time, None for all; the one used longest ago goes first.

    Raises InputError for an address that others can reach without a password, for a short password, and for no models.
    """

    models: tuple[str, ...] = ("scenes",)
    cached: tuple[str, ...] = ()
    editors: Mapping[str, str] = field(default_factory=dict[str, str])
    loading: Mapping[str, Any] = field(default_factory=dict[str, Any])
    loaded: int | None = None
    host: str = "127.0.0.1"
    port: int = 7860
    password: str | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise InputError(f"port: {self.port} is not between 0 and 65535")
        if self.loaded is not None and self.loaded < 1:
            raise InputError(f"loaded: {self.loaded} models in memory are too few; take 1 or more")
        if not self.local and self.password is None:
            raise InputError(
                f"host: others can reach {self.host}; protect the page with --password, or leave --host out"
            )
        if self.password is not None and len(self.password) < SHORTEST_PASSWORD:
            raise InputError(f"password: too short; take at least {SHORTEST_PASSWORD} characters")

    @property
    def offered(self) -> tuple[str, ...]:
        """All models, each once."""
        return tuple(dict.fromkeys((*self.models, *self.cached)))

    def how(self, model: str) -> dict[str, Any]:
        """How a model is loaded."""
        return {**self.loading, **({"offline": True} if model in self.cached else {})}

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
