"""Killed at any moment: no finished row is lost, none is made twice, no file is partial."""

import contextlib
import hashlib
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from .conftest import COLOURS, write

KILLS = int(os.environ.get("SCUMBLE_KILLS", "3"))  # of the driver; 30 for the proof
ROWS = 24
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, pictures: Path, pristine: Path) -> Iterator[Start]:
    """start(flags...): a process that makes 24 rows into tmp_path/out, at least a moment each."""
    rows = [
        {
            "id": f"r{i:02}",
            "image": f"in/p{i % 4}.png",
            "source": f"a {COLOURS[i % 4]}",
            "target": "b",
            "seed": i,
        }
        for i in range(ROWS)
    ]
    manifest = write(tmp_path / "edits.jsonl", rows)
    line = [
        "batch",
        manifest,
        "-o",
        tmp_path / "out",
        "--model",
        pristine,
        "--method",
        "sdedit",
        "--batch",
        2,
    ]
    started: list[subprocess.Popen[str]] = []

    def run(*flags: object, **env: str) -> subprocess.Popen[str]:
        words = [*map(str, line), "--set", "steps=60", *map(str, flags)]
        process = subprocess.Popen(
            [sys.executable, "-m", "scumble", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **env}, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        kill(process.pid)


def kill(number: int) -> None:
    """kill -9 for a process and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def lines(out: Path) -> list[dict[str, Any]]:
    """The whole records of a ledger."""
    path = out / "results.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def wait(until: Callable[[], object], process: subprocess.Popen[str], seconds: float = 800) -> None:
    end = time.monotonic() + seconds
    while not until() and process.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def check(out: Path) -> None:
    """All rows are there, each recorded once, each file whole, and as it was recorded."""
    records = lines(out)
    assert sorted(record["id"] for record in records) == [f"r{i:02}" for i in range(ROWS)]
    for record in records:
        data = (out / record["output"]).read_bytes()
        assert record["error"] is None
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
        Image.open(out / record["output"]).load()
    assert {p.name for p in out.glob("*.png")} == {*(r["output"] for r in records), "sheet-0001.png"}


def test_the_driver_is_killed(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = random.Random(7)
    seen: dict[str, float] = {}
    for _ in range(KILLS):
        before = len(lines(out))
        process = start()
        wait(lambda before=before: len(lines(out)) > before, process)
        time.sleep(chosen.random() * 0.5)
        kill(process.pid)
        process.wait()
        for record in lines(out):  # what was finished stays as it was
            made = (out / record["output"]).stat().st_mtime_ns
            assert seen.setdefault(record["id"], made) == made
        if len(lines(out)) == ROWS:
            break
    last = start()
    assert last.wait(800) == 0, last.stdout and last.stdout.read()
    for path in out.glob(".*.part"):
        path.unlink()  # what a killed process was writing, under a name of its own
    check(out)


# Ray -----------------------------------------------------------------------------------------------------


def test_a_worker_is_killed(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out, flags = tmp_path / "out", ["--workers", 2]
    process = start(*flags)
    wait(lambda: len(lines(out)) >= 4, process)
    workers = [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if "MapWorker" in " ".join(each.cmdline())
    ]
    assert workers
    workers[0].kill()
    assert process.wait(800) == 0, process.stdout and process.stdout.read()
    check(out)


def test_the_driver_of_workers_is_killed(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "out"
    process = start("--workers", 2)
    wait(lambda: len(lines(out)) >= 4, process)
    kill(process.pid)
    last = start()
    assert last.wait(800) == 0, last.stdout and last.stdout.read()
    check(out)


@pytest.fixture
def nodes() -> Iterator[tuple[str, dict[str, str], list[subprocess.Popen[str]]]]:
    """The address of a cluster of two nodes on loopback, what is in its environment, and its nodes' processes."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    common = ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--block"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *common]
    head = ["--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    started: list[subprocess.Popen[str]] = []
    try:
        for flags in (head, [f"--address=127.0.0.1:{port}", "--num-cpus=1"]):
            started.append(
                subprocess.Popen(
                    [*ray, *flags],
                    env={**os.environ, **env},
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
            time.sleep(10)
            assert started[-1].poll() is None, started[-1].stdout and started[-1].stdout.read()
        yield f"127.0.0.1:{port}", env, started
    finally:
        for process in reversed(started):
            kill(process.pid)


def test_a_node_is_killed(
    start: Start, nodes: tuple[str, dict[str, str], list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    address, env, (_, second) = nodes
    out = tmp_path / "out"
    process = start("--ray", address, "--workers", 2, **env)
    wait(lambda: len(lines(out)) >= 4, process)
    kill(second.pid)
    assert process.wait(800) == 0, process.stdout and process.stdout.read()
    check(out)
