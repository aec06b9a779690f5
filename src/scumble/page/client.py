"""The page from a program: the same requests that a browser makes, with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from scumble.core.errors import InputError, MachineError

PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between looks at a request; the more come before it, the longer
PATIENCE = 300.0  # seconds for one answer
PICTURES = "image", "mask", "reference"


@dataclass(frozen=True)
class Made:
    """A result: the bytes of its PNG file, the file's name, and what is told about it (`about["passport"]`, ...)."""

    name: str
    data: bytes
    about: Mapping[str, Any]


class PageClient:
    """A client of the page at `url`. What it uploads and makes is its own; `close` deletes it."""

    def __init__(self, url: str, password: str | None = None):
        self.url = url.rstrip("/")
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
        self._headers = dict[str, str]()
        if password is not None:
            said = base64.b64encode(f"scumble:{password}".encode()).decode()
            self._headers["authorization"] = f"Basic {said}"

    def edit(self, image: str | Path | bytes, **fields: Any) -> list[Made]:
        """Edit a picture, given by its path or its file's bytes, and wait for the results.

        fields: those of `scumble.Recipe`, but for what names the machine (device, lora, ...): source, target, method,
            settings, seed, mask, reference, ...; several targets or seeds as a list; over={"guidance": [2, 4]} sweeps.

        Raises:
            InputError: the page refuses the request; the message is the page's.
            MachineError: the page is not reached, is full, or has not enough memory.
        """
        return self._made(self.start(image, **fields))

    def words(self, image: str | Path | bytes, source: str, **fields: Any) -> Made:
        """Heat maps of where the model looks for each word of `source`. Raises as `edit` does."""
        body = self._body({"image": image, "source": source, **fields})
        return self._made(self.ask("POST", "/api/words", body)["id"])[0]

    def start(self, image: str | Path | bytes, **fields: Any) -> str:
        """Ask for an edit without waiting; the request's id, for `state` and `cancel`."""
        return self.ask("POST", "/api/edits", self._body({"image": image, **fields}))["id"]

    def state(self, job: str) -> dict[str, Any]:
        """Where a request is: state, place, progress, message, results. One that nobody looks at is cancelled."""
        return self.ask("GET", f"/api/jobs/{job}")

    def cancel(self, job: str) -> None:
        """Stop a request."""
        self.ask("DELETE", f"/api/jobs/{job}")

    def wait(self, job: str) -> dict[str, Any]:
        """The last state of a request. Raises InputError with its message where it has failed."""
        while (state := self.state(job))["state"] not in ("done", "failed", "cancelled"):
            time.sleep(min(LONGEST_PAUSE, PAUSE * (1 + state["place"])))
        if state["state"] == "failed":
            raise InputError(state["message"])
        return state

    def upload(self, picture: str | Path | bytes, name: str = "picture.png") -> str:
        """Upload a picture; its id."""
        if not isinstance(picture, bytes):
            picture, name = Path(picture).read_bytes(), Path(picture).name
        return json.loads(self.raw("POST", f"/api/pictures?name={quote(name)}", picture, "image/*"))["id"]

    def close(self) -> None:
        """Delete everything of this client on the server."""
        self.ask("DELETE", "/api/client")

    def ask(self, how: str, path: str, body: object = None) -> Any:
        """One request of JSON."""
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self.raw(how, path, data, "application/json"))

    def raw(self, how: str, path: str, data: bytes | None = None, kind: str = "") -> bytes:
        """One request. Raises as `edit` does."""
        headers = {**self._headers, **({"content-type": kind} if data is not None else {})}
        request = Request(self.url + path, data, headers, method=how)
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return answer.read()
        except HTTPError as error:
            message = _message(error)
            raise (MachineError if error.code in (429, 500, 503) else InputError)(message) from None
        except (URLError, OSError) as error:
            raise MachineError(f"page: {self.url} does not answer ({error}); is it running?") from None

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The request, its pictures uploaded."""
        sent = {k: self.upload(v, f"{k}.png") for k, v in fields.items() if k in PICTURES and v is not None}
        return {**fields, **sent}

    def _made(self, job: str) -> list[Made]:
        told = self.wait(job)["results"]
        return [
            Made(one["file"], self.raw("GET", f"/api/results/{one['id']}/result.png"), one) for one in told
        ]


def _message(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"page: it answered {error.code}"
