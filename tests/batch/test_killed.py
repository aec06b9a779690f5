"""Killed at any moment: no finished row is lost, none is made twice, no file is partial."""

import contextlib
import hashlib
import ipaddress
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

KILLS = int(os.environ.get("SCUMBLE_KILLS", "3"))  # 30 for the proof
FEW = KILLS if KILLS > 3 else 1  # of what takes a minute each
ROWS = 24
MANY = 96  # rows of a run in which several nodes are killed
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400 + 300 * KILLS)]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, pictures: Path, pristine: Path) -> Iterator[Start]:
    """start(flags..., folder=..., rows=...): a process that makes 24 rows into a folder, at least a moment each."""
    usual = ["--model", pristine, "--method", "sdedit", "--batch", 2, "--set", "steps=60"]
    started: list[subprocess.Popen[str]] = []

    def run(
        *flags: object, folder: Path = tmp_path / "out", rows: int = ROWS, **env: str
    ) -> subprocess.Popen[str]:
        manifest = write(tmp_path / f"edits-{rows}.jsonl", [edit(i) for i in range(rows)])
        words = map(str, ["batch", manifest, "-o", folder, *usual, *flags])
        process = subprocess.Popen(
            [sys.executable, "-m", "scumble", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **env}, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        kill(process.pid)


def edit(i: int) -> dict[str, Any]:
    """A row."""
    k = i % 4
    return {"id": f"r{i:02}", "image": f"in/p{k}.png", "source": f"a {COLOURS[k]}", "target": "b", "seed": i}


def kill(number: int) -> None:
    """kill -9 for a process and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def end(process: subprocess.Popen[str]) -> None:
    """kill -9 for all of a session whose first process is gone."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(each.pid) == process.pid:
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


def check(out: Path, rows: int = ROWS) -> None:
    """All rows are there, each recorded once, each file whole, and as it was recorded."""
    records = lines(out)
    assert sorted(record["id"] for record in records) == [f"r{i:02}" for i in range(rows)]
    for record in records:
        data = (out / record["output"]).read_bytes()
        assert record["error"] is None
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
        Image.open(out / record["output"]).load()
    assert not [*out.glob(".*.part")]
    assert {p.name for p in out.glob("*.png")} == {
        *(r["output"] for r in records),
        f"sheet-edits-{rows}.jsonl-0001.png",
    }


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that nobody disturbs."""
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 0, said


def test_the_driver_is_killed(start: Start, tmp_path: Path) -> None:
    """At random moments of its life: while it starts, checks, makes, writes and records."""
    chosen = random.Random(7)
    seen: dict[Path, int] = {}
    folder, whole = tmp_path / "out", list[Path]()
    for k in range(KILLS):
        before = len(lines(folder))
        process = start(folder=folder)
        if chosen.random() < 0.8:  # else while it starts
            wait(lambda before=before, folder=folder: len(lines(folder)) > before, process)
        time.sleep(chosen.random() * 0.5)
        kill(process.pid)
        process.communicate()
        for record in lines(folder):  # what was finished stays as it was
            path = folder / record["output"]
            assert seen.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
        if len(lines(folder)) == ROWS:
            whole.append(folder)
            folder = tmp_path / f"out-{k}"
    for each in {*whole, folder}:
        finish(start(folder=each))
        check(each)


# Ray -----------------------------------------------------------------------------------------------------


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that make groups."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [each for each in children if "MapWorker" in _name(each)]


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def listening(process: psutil.Process) -> set[str]:
    """The addresses at which a process and all that it has started wait for connections."""
    found: set[str] = set()
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            there = each.net_connections("inet")
            found |= {at.laddr.ip for at in there if at.status == psutil.CONN_LISTEN}
    return found


def test_ray_listens_on_loopback_alone(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = start("--workers", 2)
    wait(lambda: lines(tmp_path / "out"), process)
    assert process.poll() is None, process.communicate()[0]
    addresses = listening(psutil.Process(process.pid))
    assert addresses
    loopback = [ipaddress.ip_address(each.removeprefix("::ffff:")).is_loopback for each in addresses]
    assert all(loopback), addresses


def test_workers_are_killed(start: Start, tmp_path: Path) -> None:
    """Any of them, at random moments; Ray starts others."""
    pytest.importorskip("ray")
    chosen, left, k = random.Random(8), KILLS, 0
    while left > 0:
        k, folder = k + 1, tmp_path / f"out-{k}"
        process = start("--workers", 2, folder=folder)
        for _ in range(min(left, 5)):
            before = len(lines(folder))
            wait(lambda before=before, folder=folder: len(lines(folder)) > before, process)
            time.sleep(chosen.random() * 0.5)
            if process.poll() is None and (there := workers(process)):
                chosen.choice(there).kill()
                left -= 1
        finish(process)
        check(folder)


def test_the_driver_of_workers_is_killed(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    chosen, out = random.Random(9), tmp_path / "out"
    for k in range(FEW):
        folder = tmp_path / f"out-{k}"
        process = start("--workers", 2, folder=folder)
        wait(lambda folder=folder: lines(folder), process)
        time.sleep(chosen.random())
        made, children = lines(folder), psutil.Process(process.pid).children(recursive=True)
        process.kill()  # it alone: all that it has started must end by itself
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=60)
        names = [_name(each) for each in alive]
        assert not [name for name in names if "MapWorker" in name or "raylet" in name]  # agents notice later
        finish(start(folder=folder))
        check(folder)
        assert lines(folder)[: len(made)] == made
    assert not out.exists()


Cluster = tuple[str, dict[str, str], Callable[[], subprocess.Popen[str]]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """The address of a cluster of two nodes on loopback, what is in its environment, and what starts another node."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "PYTHONUNBUFFERED": "1"}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--node-ip-address=127.0.0.1"]
    ray += ["--object-store-memory=100000000", "--block"]
    started: list[subprocess.Popen[str]] = []

    def node(*flags: str) -> subprocess.Popen[str]:
        for _ in range(10):  # a busy machine may take longer than Ray waits: 30 s
            process = subprocess.Popen(
                [*ray, *flags], env={**os.environ, **env}, text=True, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            started.append(process)
            assert process.stdout is not None
            if any("Ray runtime started" in line for line in process.stdout):
                return process
            end(process)
        raise AssertionError("Ray does not start")

    try:
        port = address.rpartition(":")[2]
        node("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
        yield address, env, lambda: node(f"--address={address}", "--num-cpus=1")
    finally:
        for process in reversed(started):
            kill(process.pid)


def test_nodes_are_killed(start: Start, cluster: Cluster, tmp_path: Path) -> None:
    """A second node joins, makes rows and is killed, again and again, up to five times in a run."""
    address, env, node = cluster
    chosen, left, k = random.Random(10), FEW, 0
    while left > 0:
        k, folder, second = k + 1, tmp_path / f"out-{k}", node()
        process = start("--ray", address, "--workers", 2, folder=folder, rows=MANY, **env)
        for _ in range(min(left, 5)):
            before = len(lines(folder))
            wait(lambda before=before, folder=folder: len(lines(folder)) >= before + 2, process)
            time.sleep(chosen.random() * 2)
            if process.poll() is not None:
                break
            kill(second.pid)
            left -= 1
            second = node()
        finish(process)
        check(folder, MANY)
        kill(second.pid)


def test_a_wrong_token_is_refused(start: Start, cluster: Cluster, tmp_path: Path) -> None:
    address, env, _ = cluster
    process = start("--ray", address, **env | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 3, said
    assert f"--ray {address}: cannot be joined" in said
    assert not lines(tmp_path / "out")
