"""The addresses of pictures and results. All that is answered belongs to the client who asks."""

from __future__ import annotations

import asyncio
import contextlib
import zipfile
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from scumble.page.answers import COOKIE, Answers
from scumble.page.checking import measured, seen_as_mask, shown
from scumble.page.facts import SOURCE, TARGET, example
from scumble.page.house import House
from scumble.page.store import Client, Upload, token


class Files(Answers):
    """Uploads and results of one client."""

    def __init__(self, house: House):
        super().__init__(house)
        self.decoding = asyncio.Semaphore(2)  # pictures at a time: each takes memory

    async def keep(self, client: Client, data: bytes, name: str) -> dict[str, Any]:
        """Store a picture that can be read. Raises InputError for any other."""
        async with self.decoding:
            size = await run_in_threadpool(measured, data, name, self.limits)
            kept = await run_in_threadpool(client.keep, data, name, size)
        return _told(kept)

    async def example(self, request: Request) -> Response:
        client = self.client(request)
        told = await self.keep(client, await run_in_threadpool(example), "example.png")
        return self.answer(client, {**told, "source": SOURCE, "target": TARGET}, 201)

    async def upload(self, request: Request) -> Response:
        client = self.client(request)
        data = await self.body(request, self.limits.bytes, "picture")
        name = request.query_params.get("name", "picture.png")
        return self.answer(client, await self.keep(client, data, name), 201)

    async def pictures(self, request: Request) -> Response:
        client = self.client(request)
        return self.answer(client, [_told(upload) for upload in client.pictures.values()])

    async def picture(self, request: Request) -> Response:
        client = self.client(request)
        upload = client.upload(request.path_params["id"])
        async with self.decoding:
            return Response(await run_in_threadpool(shown, upload), media_type="image/png")

    async def mask(self, request: Request) -> Response:
        """An upload as it counts as the mask of another one, `of`: white may change."""
        client = self.client(request)
        upload, of = client.upload(request.path_params["id"]), client.upload(request.query_params.get("of"))
        async with self.decoding:
            return Response(await run_in_threadpool(seen_as_mask, upload, of), media_type="image/png")

    async def discard(self, request: Request) -> Response:
        client = self.client(request)
        await run_in_threadpool(client.discard, request.path_params["id"])
        return self.answer(client, {})

    async def results(self, request: Request) -> Response:
        client = self.client(request)
        return self.answer(client, [result.about for result in client.results.values()])

    async def result(self, request: Request) -> Response:
        client, file = self.client(request), request.path_params["file"]
        result = client.results.get(request.path_params["id"])
        if result is None or file not in result.files:
            raise HTTPException(404, "result: there is none of this name")
        name = str(result.about["file"])
        if file != "result.png":
            name = f"{Path(name).stem}.{file}"
        headers = {"content-disposition": f"inline; filename*=UTF-8''{quote(name)}"}
        return FileResponse(result.files[file], media_type="image/png", headers=headers)

    async def use(self, request: Request) -> Response:
        """The result as a picture to edit further."""
        client = self.client(request)
        result = client.results.get(request.path_params["id"])
        try:
            data = result and await run_in_threadpool(result.files["result.png"].read_bytes)
        except FileNotFoundError:  # a newer one has pushed it out meanwhile
            data = None
        if result is None or data is None:
            raise HTTPException(404, "result: there is none of this name")
        return self.answer(client, await self.keep(client, data, str(result.about["file"])), 201)

    async def drop(self, request: Request) -> Response:
        client, id = self.client(request), cast(str, request.path_params["id"])
        if id in client.results:
            await run_in_threadpool(client.drop, id)
        return self.answer(client, {})

    async def all_results(self, request: Request) -> Response:
        client = self.client(request)
        if not client.results:
            raise HTTPException(404, "results: there are none yet")
        file = await run_in_threadpool(zipped, client)
        gone = BackgroundTask(file.unlink, missing_ok=True)
        return FileResponse(file, media_type="application/zip", filename="scumble.zip", background=gone)

    async def forget(self, request: Request) -> Response:
        client = self.client(request)
        await run_in_threadpool(self.house.forget, client)
        response = JSONResponse({})
        response.delete_cookie(COOKIE)
        return response


def zipped(client: Client) -> Path:
    """All results of a client in one file, under their names; several of one name are numbered."""
    file = client.folder / f"{token()}.zip"
    taken: set[str] = set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as pack:
        for result in list(client.results.values()):
            stem, k = Path(str(result.about["file"])).stem, 2
            name = f"{stem}.png"
            while name in taken:
                name, k = f"{stem}-{k}.png", k + 1
            taken.add(name)
            with contextlib.suppress(FileNotFoundError):  # a newer one has pushed it out meanwhile
                pack.write(result.files["result.png"], name)
    return file


def _told(upload: Upload) -> dict[str, Any]:
    return {"id": upload.id, "name": upload.name, "size": list(upload.size)}
