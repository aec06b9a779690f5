"""The server's addresses and its errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from scumble.core.errors import InputError, MachineError
from scumble.page.desk import Full, unexpected
from scumble.page.files import Files
from scumble.page.guard import Guard
from scumble.page.house import House
from scumble.page.pages import STATIC, Pages


def app(house: House) -> Starlette:
    """The page as an ASGI application."""
    pages, files = Pages(house), Files(house)
    routes = [
        Route("/", pages.index),
        Route("/api", pages.about),
        Route("/api/methods", pages.methods),
        Route("/api/example", files.example, methods=["POST"]),
        Route("/api/pictures", files.upload, methods=["POST"]),
        Route("/api/pictures", files.pictures),
        Route("/api/pictures/{id}", files.picture),
        Route("/api/pictures/{id}", files.discard, methods=["DELETE"]),
        Route("/api/pictures/{id}/mask", files.mask),
        Route("/api/check", pages.check, methods=["POST"]),
        Route("/api/edits", pages.edit, methods=["POST"]),
        Route("/api/words", pages.words, methods=["POST"]),
        Route("/api/jobs/{id}", pages.job),
        Route("/api/jobs/{id}", pages.cancel, methods=["DELETE"]),
        Route("/api/jobs/{id}/events", pages.events),
        Route("/api/jobs/{id}/preview", pages.preview),
        Route("/api/results", files.results),
        Route("/api/results.zip", files.all_results),
        Route("/api/results/{id}", files.drop, methods=["DELETE"]),
        Route("/api/results/{id}/use", files.use, methods=["POST"]),
        Route("/api/results/{id}/{file}", files.result),
        Route("/api/client", files.forget, methods=["DELETE"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        task = asyncio.create_task(_sweeping(house))
        yield
        task.cancel()

    handlers = dict.fromkeys((InputError, MachineError, Full, HTTPException, Exception), _refused)
    guard = Middleware(Guard, options=house.options)
    return Starlette(routes=routes, lifespan=lifespan, middleware=[guard], exception_handlers=handlers)


async def _sweeping(house: House) -> None:
    """Deletes what clients who are gone have left."""
    while True:
        await asyncio.sleep(min(30.0, house.options.limits.idle / 2))
        await run_in_threadpool(house.sweep)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


async def _refused(_: Request, error: Exception) -> Response:
    """Every error as JSON, with a message that holds nothing of the server."""
    match error:
        case HTTPException():
            return _error(error.status_code, error.detail, error.headers)
        case InputError():
            return _error(422, str(error))
        case Full():
            return _error(429, str(error), {"retry-after": "10"})
        case MachineError():
            return _error(503, str(error))
        case _:
            return _error(500, unexpected(error))
