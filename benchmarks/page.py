"""The page under load: many clients at once, each with edits of its own. Prints what a client waits, and what is left.

    python benchmarks/page.py --model tests/models/tiny-sd --clients 50 --minutes 5
    python benchmarks/page.py --edits 200

Every answer is checked: the seed, the picture and the prompt in the file's own passport must be what this client asked
for, and an edit that is asked for again must have the same pixels. With `--edits`, one client makes so many edits, each
of another picture, and the page's memory is measured after every twenty, or more often where there are few. `--mixed`
makes them of several kinds: with a mask, with a kept inversion, as a grid, heat maps of words.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image, ImageDraw

from scumble.core.errors import MachineError
from scumble.page.client import PageClient


def picture(number: int) -> bytes:
    """A picture that no other client has."""
    image = Image.new("RGB", (64, 64), (255, 255, number % 256))
    ImageDraw.Draw(image).ellipse((8, 8, 24 + number % 32, 56), fill=(200, number * 7 % 256, 40))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Clients:
    """What all clients saw."""

    def __init__(self, url: str, steps: int, until: float):
        self.url, self.steps, self.until = url, steps, until
        self.waits: list[float] = []
        self.places: list[int] = []
        self.again, self.refused, self.cancelled = 0, 0, 0
        self.wrong, self.failed = list[str](), list[str]()
        self.pixels: dict[int, bytes] = {}  # of the first answer, by seed

    def run(self, number: int) -> None:
        """One client: edits until the time is over."""
        client, own = PageClient(self.url), random.Random(number)
        while time.monotonic() < self.until:
            try:
                self._edit(client, number, own)
            except Exception as error:  # whatever it is, it is counted
                self.failed.append(f"{type(error).__name__}: {error}")
        client.close()

    def _edit(self, client: PageClient, number: int, own: random.Random) -> None:
        """One edit, cancelled on its way now and then."""
        data, seed, started = picture(number), number * 1000 + own.randrange(SEEDS), time.monotonic()
        try:
            job = client.start(data, **asked(self.steps, seed))
        except MachineError:
            self.refused += 1
            time.sleep(1)
            return
        self.places.append(client.state(job)["place"])
        if own.random() < 0.05:
            client.cancel(job)
            self.cancelled += client.wait(job)["state"] == "cancelled"
            return
        results = client.wait(job)["results"]
        if len(results) != 1:
            self.wrong.append(f"client {number} got {len(results)} results")
        for told in results:
            file = client.raw("GET", f"/api/results/{told['id']}/result.png")
            self._check(number, seed, data, file)
        self.waits.append(time.monotonic() - started)

    def _check(self, number: int, seed: int, data: bytes, file: bytes) -> None:
        """Whether a file is this client's: by what it says of itself, and by its pixels where they are known."""
        image = Image.open(io.BytesIO(file))
        passport = json.loads(image.info["scumble"])
        found = passport["seed"], passport["input"]["sha256"], image.size
        mine = seed, hashlib.sha256(data).hexdigest(), (64, 64)
        if found != mine:
            self.wrong.append(f"client {number} got {found} instead of {mine}")
        pixels = hashlib.sha256(image.tobytes()).digest()
        self.again += seed in self.pixels
        if self.pixels.setdefault(seed, pixels) != pixels:
            self.wrong.append(f"client {number} got other pixels for seed {seed} than before")


SEEDS = 5  # that a client asks for, again and again
EVERY = 20  # edits between two looks at the memory, at most
WARM = 5  # edits before anything is measured


@dataclass
class Served:
    """A page of its own process: `url`, and after it has closed its exit code and the files that it has left."""

    url: str
    process: psutil.Process
    folder: Path
    code: int = 0

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        return round(self.process.memory_info().rss / 1e6, 1)

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far: what a busy machine does not lengthen."""
        times = self.process.cpu_times()
        return times.user + times.system

    @property
    def files(self) -> list[str]:
        """What lies on the disk."""
        return [path.name for path in self.folder.rglob("*") if path.is_file()]


@contextmanager
def served(model: str) -> Generator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "scumble", "page", "--port", "0", "--model", model]
        page = subprocess.Popen(line, env={**os.environ, "TMPDIR": folder}, stdout=subprocess.PIPE, text=True)
        assert page.stdout
        found = Served(page.stdout.readline().strip(), psutil.Process(page.pid), Path(folder))
        yield found
        page.send_signal(signal.SIGINT)
        found.code = page.wait(60)
        left = found.files
    if left:
        raise SystemExit(f"left on the disk: {left}")


def asked(steps: int, seed: int = 0) -> dict[str, Any]:
    words = {"source": "a red circle", "target": "a blue circle"}
    return {**words, "method": "dds", "settings": {"steps": steps}, "seed": seed}


def mask() -> bytes:
    """The left half may change."""
    image, file = Image.new("L", (64, 64)), io.BytesIO()
    image.paste(255, (0, 0, 32, 64))
    image.save(file, "PNG")
    return file.getvalue()


def mixed(client: PageClient, steps: int, k: int) -> None:
    """One of five kinds of requests."""
    plain = asked(steps, seed=k)
    match k % 5:
        case 0:
            client.edit(picture(k), **plain, mask=mask())
        case 1:
            client.edit(picture(k), **plain | {"method": "p2p", "invert": True})
        case 2:
            client.edit(picture(k), **plain | {"target": ["a blue circle", "a green circle"]})
        case 3:
            client.words(picture(k), plain["source"])
        case _:
            client.edit(picture(k), **plain | {"method": "dds_fast"})


def warm(page: Served, steps: int) -> None:
    """The first edits, which load what later ones use again."""
    first = PageClient(page.url)
    for _ in range(WARM):
        first.edit(picture(0), **asked(steps))
    first.close()


def under_load(model: str, count: int, minutes: float, steps: int) -> dict[str, Any]:
    """Many clients at once."""
    with served(model) as page:
        warm(page, steps)
        before, cpu = page.memory, page.cpu
        clients = Clients(page.url, steps, time.monotonic() + 60 * minutes)
        threads = [threading.Thread(target=clients.run, args=(k,)) for k in range(1, count + 1)]
        for thread in threads:
            thread.start()
        memory = [before]
        while any(thread.is_alive() for thread in threads):
            time.sleep(1)
            memory.append(page.memory)
        after, left, cpu = page.memory, page.files, page.cpu - cpu
    waits = sorted(clients.waits)
    return {
        "clients": count,
        "minutes": minutes,
        "answers": len(waits),
        "answers whose pixels were known": clients.again,
        "cancelled": clients.cancelled,
        "wrong": clients.wrong,
        "failed": clients.failed,
        "refused": clients.refused,
        "longest queue": max(clients.places, default=0),
        "seconds": {
            "median": round(statistics.median(waits), 2),
            "95 %": round(waits[int(0.95 * len(waits))], 2),
            "longest": round(waits[-1], 2),
        },
        "processor seconds of the page per answer": round(cpu / len(waits), 2),
        "memory in MB": {
            "before": before,
            "middle": memory[len(memory) // 2],
            "after": after,
            "most": max(memory),
        },
        "files left when all clients have gone": len(left),
        "exit code": page.code,
    }


def over_edits(model: str, count: int, steps: int, several: bool) -> dict[str, Any]:
    """One client, edit after edit; `several`: of several kinds."""
    with served(model) as page:
        warm(page, steps)
        client, memory, every = PageClient(page.url), [page.memory], max(1, min(EVERY, count // 5))
        for k in range(1, count + 1):
            if several:
                mixed(client, steps, k)
            else:
                client.edit(picture(k), **asked(steps, seed=k))
            if k % every == 0:
                memory.append(page.memory)
        files = len(page.files)
        client.close()
        left = page.files
    return {
        "edits": count,
        f"memory in MB after every {every}": memory,
        "files of the client": files,
        "files left when it has gone": len(left),
        "exit code": page.code,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--edits", type=int, help="one client with so many edits, instead of many at once")
    parser.add_argument("--mixed", action="store_true", help="with --edits: requests of several kinds")
    said = parser.parse_args()
    if said.edits:
        told = over_edits(said.model, said.edits, said.steps, said.mixed)
    else:
        told = under_load(said.model, said.clients, said.minutes, said.steps)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
