"""The addresses of the page itself and of requests. All that is answered belongs to the client who asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from scumble.page.answers import COOKIE, Answers
from scumble.page.asking import fields_told, understood
from scumble.page.checking import checked
from scumble.page.facts import methods_told, model_told
from scumble.page.job import Job

STATIC = Path(__file__).parent / "static"
TICK, BEAT = 0.1, 5.0  # seconds between looks at a request, and between signs of life


class Pages(Answers):
    """The page, what its form is made of, and requests on their way."""

    async def index(self, request: Request) -> Response:
        client = self.client(request)
        response = FileResponse(STATIC / "index.html")
        response.set_cookie(COOKIE, client.key, httponly=True, samesite="strict", path="/")
        return response

    async def about(self, request: Request) -> Response:
        import scumble

        limits = {
            name: getattr(self.limits, name) for name in ("bytes", "pixels", "edits", "canvas", "results")
        }
        told: dict[str, Any] = {
            "scumble": scumble.__version__,
            "models": [model_told(desk) for desk in self.house.desks.values()],
            "editors": list(self.house.options.editors),
            "limits": limits,
            "fields": fields_told(),
        }
        return self.answer(self.client(request), told)

    async def methods(self, request: Request) -> Response:
        desk = self.house.desk(request.query_params.get("model"))
        told = await run_in_threadpool(methods_told, desk.card, self.house.options.editors)
        return self.answer(self.client(request), told)

    async def check(self, request: Request) -> Response:
        client, body = self.client(request), await self.json(request)
        return self.answer(client, await run_in_threadpool(checked, body, client, self.house))

    async def edit(self, request: Request) -> Response:
        return await self._submit(request, words=False)

    async def words(self, request: Request) -> Response:
        return await self._submit(request, words=True)

    async def _submit(self, request: Request, *, words: bool) -> Response:
        client, body = self.client(request), await self.json(request)
        asked = await run_in_threadpool(understood, body, client, self.house.options)
        job = Job(client, asked, words)
        self.house.submit(job)
        return self.answer(client, job.told(self.house.place(job)), 202)

    def _job(self, request: Request) -> Job:
        job = self.house.job(self.client(request), request.path_params["id"])
        if job is None:
            raise HTTPException(404, "job: there is none of this name")
        job.watch()
        return job

    async def job(self, request: Request) -> Response:
        job = self._job(request)
        return JSONResponse(job.told(self.house.place(job)))

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        job.cancel()
        return JSONResponse(job.told(self.house.place(job)))

    async def preview(self, request: Request) -> Response:
        job = self._job(request)
        if not job.preview:
            return Response(status_code=204)  # the edit is done: no mistake of the client
        return Response(job.preview, media_type="image/jpeg")

    async def events(self, request: Request) -> Response:
        job = self._job(request)
        return StreamingResponse(self._events(job, request), media_type="text/event-stream")

    async def _events(self, job: Job, request: Request) -> AsyncIterator[str]:
        """The request's state whenever it changes, until it has ended."""
        before, silent = None, 0.0
        while not await request.is_disconnected():
            job.watch()
            state = (job.version, job.state, self.house.place(job))
            if state != before:
                before, silent = state, 0.0
                yield f"data: {json.dumps(job.told(state[2]))}\n\n"
            elif silent > BEAT:
                silent = 0.0
                yield ": still there\n\n"
            if job.ended and state[1] == job.state:
                return
            await asyncio.sleep(TICK)
            silent += TICK
