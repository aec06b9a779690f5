"""What stands before every request: who may ask, from where, and what browsers may do with the answers."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scumble.page.options import Options

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOCAL = {"localhost", "127.0.0.1", "::1"}
WRONG = 0.5  # seconds before a wrong password is answered


class Guard:
    """Refuses requests of other sites and without the password; sends headers that keep browsers to this page."""

    def __init__(self, app: ASGIApp, options: Options):
        self._app, self._options = app, options
        self._hosts = LOCAL | {options.host} if options.local else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._foreign(headers):
            await _refuse(send, 403, "request: it comes from another site")
        elif not self._knows(headers):
            if "authorization" in headers:
                await asyncio.sleep(WRONG)
            await _refuse(
                send, 401, "password: missing or wrong", [(b"www-authenticate", b'Basic realm="scumble"')]
            )
        else:
            await self._app(scope, receive, _guarded(send))

    def _foreign(self, headers: Headers) -> bool:
        """Whether another site's page is behind the request, or another name that leads to this machine."""
        host = headers.get("host", "")
        if self._hosts is not None and _name(f"//{host}") not in self._hosts:
            return True
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return True
        return headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and (
            headers.get("sec-fetch-mode") != "navigate"
        )

    def _knows(self, headers: Headers) -> bool:
        """Whether the request has the password, by HTTP's basic authentication; the user's name does not matter."""
        wanted = self._options.password
        if wanted is None:
            return True
        kind, _, said = headers.get("authorization", "").partition(" ")
        try:
            _, _, given = base64.b64decode(said, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return False
        return kind.lower() == "basic" and hmac.compare_digest(given.encode(), wanted.encode())


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _guarded(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return guarded


async def _refuse(send: Send, status: int, message: str, also: Iterable[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"content-type", b"application/json"), *also]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": message}).encode()})
