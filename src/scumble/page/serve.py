"""Starts the page, and stops it without leaving anything behind."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator

import uvicorn

from scumble.core.errors import InputError
from scumble.page.app import app
from scumble.page.desk import told
from scumble.page.house import House
from scumble.page.options import Options

CONNECTIONS = 400  # at a time
GRACE = 2  # seconds for answers that are under way when the page closes


def address(options: Options, listening: socket.socket) -> str:
    """The page's URL, for a browser on this machine."""
    host = "127.0.0.1" if options.host in ("0.0.0.0", "::", "") else options.host
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def listen(options: Options) -> socket.socket:
    """A socket at the page's address; port 0 is any that is free. Raises InputError where it cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((options.host, options.port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"port: {options.host}:{options.port} cannot be used ({error.strerror or error}); "
            "choose another with --port"
        ) from None
    return listening


@contextlib.contextmanager
def opened(options: Options) -> Generator[tuple[uvicorn.Server, House]]:
    """A server and what it has; all of it is gone at the end."""
    house = House(options)
    config = uvicorn.Config(
        app(house),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
        ws="none",
        lifespan="on",
    )
    try:
        with told():
            house.start()
            yield uvicorn.Server(config), house
    finally:
        house.close()


def serve(options: Options, ready: Callable[[str], None]) -> None:
    """The page until Ctrl-C. `ready`: called with its URL as soon as it can be opened.

    Raises InputError for an address that cannot be used.
    """
    with listen(options) as listening, opened(options) as (server, _):
        listening.listen(1024)
        ready(address(options, listening))
        server.run(sockets=[listening])
