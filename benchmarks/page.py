"""The page under load: many clients at once, each with edits of its own. Prints what a client waits, and what is left.

    python benchmarks/page.py --model tests/models/tiny-sd --clients 50 --minutes 5

Every answer is checked: its seed, its picture and its passport must be what this client asked for.
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
from pathlib import Path

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
        self.refused, self.wrong = 0, list[str]()

    def run(self, number: int) -> None:
        """One client: edits until the time is over, some of them cancelled on the way."""
        client, data, own = PageClient(self.url), picture(number), random.Random(number)
        sha256 = hashlib.sha256(data).hexdigest()
        while time.monotonic() < self.until:
            seed, started = number * 1_000_000 + own.randrange(1000), time.monotonic()
            asked = {
                "source": "a",
                "target": "b",
                "method": "dds",
                "settings": {"steps": self.steps},
                "seed": seed,
            }
            try:
                job = client.start(data, **asked)
            except MachineError:
                self.refused += 1
                time.sleep(1)
                continue
            self.places.append(client.state(job)["place"])
            if own.random() < 0.05:
                client.cancel(job)
                client.wait(job)
                continue
            for told in client.wait(job)["results"]:
                passport = told["passport"]
                if (passport["seed"], passport["input"]["sha256"]) != (seed, sha256):
                    self.wrong.append(f"client {number} got {passport['seed']}")
                file = client.raw("GET", f"/api/results/{told['id']}/result.png")
                if Image.open(io.BytesIO(file)).size != (64, 64):
                    self.wrong.append(f"client {number} got another picture")
            self.waits.append(time.monotonic() - started)
        client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "scumble", "page", "--port", "0", "--model", asked.model]
        page = subprocess.Popen(line, env={**os.environ, "TMPDIR": folder}, stdout=subprocess.PIPE, text=True)
        assert page.stdout
        url, process = page.stdout.readline().strip(), psutil.Process(page.pid)
        first = PageClient(url)
        for _ in range(5):
            first.edit(picture(0), source="a", target="b", method="dds", settings={"steps": asked.steps})
        first.close()
        before = process.memory_info().rss
        clients = Clients(url, asked.steps, time.monotonic() + 60 * asked.minutes)
        threads = [threading.Thread(target=clients.run, args=(k,)) for k in range(1, asked.clients + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = process.memory_info().rss
        left = [path for path in Path(folder).rglob("*") if path.is_file()]
        page.send_signal(signal.SIGINT)
        code = page.wait(60)
        gone = [path.name for path in Path(folder).rglob("*") if path.is_file()]
    waits = sorted(clients.waits)
    print(
        json.dumps(
            {
                "clients": asked.clients,
                "minutes": asked.minutes,
                "edits": len(waits),
                "wrong": clients.wrong,
                "refused": clients.refused,
                "longest queue": max(clients.places, default=0),
                "seconds": {
                    "median": round(statistics.median(waits), 2),
                    "95 %": round(waits[int(0.95 * len(waits))], 2),
                    "longest": round(waits[-1], 2),
                },
                "memory in MB": {"before": before // 10**6, "after": after // 10**6},
                "files left while it runs": len(left),
                "left after it has closed": gone,
                "exit code": code,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
