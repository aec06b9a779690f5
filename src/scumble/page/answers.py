"""What every address of the server does with a request: who asks, what is sent, what is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from scumble.core.errors import InputError
from scumble.page.house import House
from scumble.page.store import Client

COOKIE = "scumble"


class Answers:
    """Common to all addresses."""

    def __init__(self, house: House):
        self.house, self.limits = house, house.options.limits

    def client(self, request: Request) -> Client:
        """Who asks; a new client where the request has no key."""
        return self.house.store.client(request.cookies.get(COOKIE))

    def answer(self, client: Client, content: Any, status: int = 200) -> JSONResponse:
        """JSON, and the client's key: whoever has it is the client."""
        response = JSONResponse(content, status)
        response.set_cookie(COOKIE, client.key, httponly=True, samesite="strict", path="/")
        return response

    async def body(self, request: Request, most: int, what: str) -> bytes:
        """The request's body. Raises InputError for one that is too large or too slow."""
        said = request.headers.get("content-length", "0")
        data = bytearray()
        try:
            if said.isdecimal() and int(said) <= most:
                async with asyncio.timeout(self.limits.upload):
                    async for part in request.stream():
                        data += part
                        if len(data) > most:
                            break
                    else:
                        return bytes(data)
        except TimeoutError:
            raise InputError(f"{what}: it did not arrive in {self.limits.upload:.0f} s") from None
        except ClientDisconnect:
            raise HTTPException(400, f"{what}: it did not arrive") from None
        raise InputError(f"{what}: more than {most / 1e6:g} MB; make it smaller")

    async def json(self, request: Request) -> Any:
        """The request's body as JSON. Raises InputError for anything else, such as a form of another site."""
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise InputError("request: its content-type is not application/json")
        data = await self.body(request, self.limits.request, "request")
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise InputError("request: it is not JSON") from None
