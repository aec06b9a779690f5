"""Groups of rows made by Ray's workers, on this machine or on a cluster. Ray Data distributes them.

Every worker is a process (an actor) that keeps its model loaded. A group is one block of the dataset, so that its
records come back as soon as it is made. What a killed worker or node had in flight, Ray gives to another; files that
are there already are recognised (`Maker`), and only the driver records.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.batch.ledger import Record
from scumble.batch.making import Maker
from scumble.batch.rows import Row
from scumble.core.errors import InputError, MachineError
from scumble.core.places import exists, home
from scumble.editing.recipe import Recipe
from scumble.priors._find import BUILTIN

if TYPE_CHECKING:
    from scumble.batch.run import Make

STOP = ".results.stop"
"""A file in the output folder that tells workers to start no other group."""

STORE = 256 * 2**20
"""Bytes of Ray's object store on this machine. It holds rows as text and records, no pictures."""

SLOW = 20
"""Seconds after which it is said that a cluster does not answer."""

STALLED = 600
"""Seconds without any result after which Ray's run is given up and what is missing is distributed again."""

STARTS = 3
"""How often Ray is started at most. It gives its processes 15 to 30 s, which is too little on a busy machine."""

ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Settings of workers of our own. Without clusters, which only Windows and macOS have by default, Ray takes 127.0.0.1
as its address, and then all of its processes listen there alone.
"""


@dataclass(frozen=True)
class Crew:
    """How many workers there are, where, and what each gets.

    workers: None: as many as the cluster's processors, or accelerators, allow. address: of a Ray cluster, "auto" for
    the one on this machine; None: workers of our own. threads: of each worker. gpus: of each worker, also a fraction.
    """

    workers: int | None = None
    address: str | None = None
    threads: int = 1
    gpus: float = 0.0


@contextmanager
def hired(crew: Crew, out: Path, manifest: str, stop: Callable[[], bool]) -> Iterator[Make]:
    """Ray, started or joined, and what makes groups with it; ours is shut down at the end.

    Raises:
        InputError: Ray is not installed, or its token authentication is switched off.
        MachineError: Ray cannot be started or joined.
    """
    ray = _ray(crew)
    mark = out / STOP
    mark.unlink(missing_ok=True)
    handlers = _handlers()
    try:
        with _explained(crew):
            _begin(ray, crew)
        _restore(handlers)  # Ray's own would end the driver before it has said how to go on
        yield _maker(ray, crew, out, manifest, stop)
    finally:
        mark.unlink(missing_ok=True)
        ray.shutdown()
        _restore(handlers)


def _ray(crew: Crew) -> Any:
    """The module, set up to be quiet, to send nothing anywhere, and to trust only who has the token."""
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        raise InputError(
            f"RAY_AUTH_MODE: {os.environ['RAY_AUTH_MODE']!r} lets anyone who reaches Ray run code here; unset it, or "
            "set it to token (docs/batch.md says how)"
        )
    if crew.address is None:
        os.environ.update(ALONE)  # Ray reads them when it is imported, and so do its processes
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
        import ray.data  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
    except ImportError:
        raise InputError(
            "--workers: they need the extra: pip install 'scumble[batch]'; or leave it out"
        ) from None
    return ray


def _begin(ray: Any, crew: Crew) -> None:
    common = {"log_to_driver": False, "logging_level": logging.ERROR}
    if crew.address is None:
        _start(ray, num_cpus=(crew.workers or 1) * crew.threads, **common)
        return
    slow = threading.Timer(SLOW, _tell_slow, [crew.address])
    slow.daemon = True
    slow.start()
    try:
        ray.init(address=crew.address, **common)
    finally:
        slow.cancel()


def _start(ray: Any, **asked: Any) -> None:
    """Start Ray on this machine, on its loopback interface alone. Raises what Ray raises, and MachineError."""
    for left in reversed(range(STARTS)):
        before = _children()
        try:
            ray.init(
                address="local",  # never another cluster that happens to run here
                include_dashboard=False,
                object_store_memory=STORE,
                **asked,
            )
            break
        except Exception:
            ray.shutdown()
            for process in _children() - before:  # which a start that failed leaves behind
                with suppress(Exception):  # it is gone by itself
                    process.kill()
            if not left:
                raise
    if not ipaddress.ip_address(at := ray.util.get_node_ip_address()).is_loopback:
        raise MachineError(
            f"it listens on {at}, where other machines can reach it; start a new Python process"
        )


def _children() -> set[Any]:
    import psutil

    return set(psutil.Process().children(recursive=True))


def _tell_slow(address: str) -> None:
    """Ray tries for minutes to join a cluster that is not there, or whose token is another one."""
    warnings.warn(
        f"--ray {address}: it has not let us in yet; is the address right, and is the token the cluster's?",
        stacklevel=2,
    )


def _maker(ray: Any, crew: Crew, out: Path, manifest: str, stop: Callable[[], bool]) -> Make:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = STALLED
    number = crew.workers or _room(ray, crew)

    def make(groups: Iterable[list[Row]]) -> Iterator[list[Record]]:
        left = {k: _written(group) for k, group in enumerate(groups)}
        while left:
            before = len(left)
            try:
                for k, records in _results(ray, crew, number, out, manifest, left):
                    if left.pop(k, None) is not None and records:
                        yield records
                    if stop():
                        (out / STOP).touch()
            except ray.exceptions.RayError as error:
                if len(left) == before:  # nothing came of it: again would be the same
                    reason = str(error).strip().splitlines()[-1]
                    raise MachineError(
                        f"Ray: its workers failed ({reason}); try --workers 0, or fewer of them"
                    ) from error

    return make


def _results(
    ray: Any, crew: Crew, number: int, out: Path, manifest: str, left: Mapping[int, str]
) -> Iterator[tuple[int, list[Record]]]:
    """(group, records) in the order in which groups are finished. Raises MachineError for what stops all workers."""
    items = [{"group": k, "rows": rows} for k, rows in left.items()]
    workers = min(number, len(items))
    done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
        num_cpus=crew.threads,
        num_gpus=crew.gpus or None,
        fn_constructor_kwargs={"out": str(out.absolute()), "manifest": manifest, "threads": crew.threads},
        max_restarts=-1,
        max_task_retries=-1,
    )
    for batch in done.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        for k, text, failed in zip(batch["group"], batch["records"], batch["failed"], strict=True):
            if failed:
                raise MachineError(str(failed))
            yield int(k), json.loads(str(text))


class Worker:
    """A process of Ray's that makes groups."""

    def __init__(self, out: str, manifest: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self._maker, self._stop = Maker(Path(out), manifest), Path(out) / STOP

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        records, failed = list[Record](), ""
        if not self._stop.exists():
            try:
                records = self._maker(_read(str(batch["rows"][0])))
            except MachineError as error:
                failed = str(error)
        return {"group": [int(batch["group"][0])], "records": [json.dumps(records)], "failed": [failed]}


def _written(rows: Iterable[Row]) -> str:
    return json.dumps([{**asdict(row), "recipe": _placed(row.recipe).to_json()} for row in rows])


def _placed(recipe: Recipe) -> Recipe:
    """The recipe with the model's files by their whole names: a worker may run in another folder. The rows keep theirs,
    of which their identities are made."""

    def place(text: str) -> str:
        head, _, weight = text.rpartition(":")
        name, tail = (text, "") if exists(home(text)) or not head else (head, f":{weight}")
        return f"{home(name).absolute()}{tail}" if exists(home(name)) else text

    model = recipe.model
    return replace(
        recipe,
        model=model if model in BUILTIN or not isinstance(model, str | Path) else place(str(model)),
        lora=tuple(place(text) for text in recipe.lora),
        embedding=tuple(place(text) for text in recipe.embedding),
    )


def _read(text: str) -> list[Row]:
    return [Row(**{**row, "recipe": Recipe.from_json(row["recipe"])}) for row in json.loads(text)]


def _room(ray: Any, crew: Crew) -> int:
    """How many workers the cluster has room for; each is on one node. Raises InputError where no node has any."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            there = node["Resources"]
            fit = [there.get("CPU", 0) / crew.threads]
            fit += [there.get("GPU", 0) / crew.gpus] if crew.gpus else []
            room += int(min(fit))
    if room < 1:
        raise InputError(
            f"--ray {crew.address}: no node has {crew.threads} processors and {crew.gpus:g} GPUs free"
        )
    return room


@contextmanager
def _explained(crew: Crew) -> Iterator[None]:
    """Raises MachineError for what keeps Ray from starting."""
    try:
        yield
    except Exception as error:  # Ray raises what it runs into
        what = f"--ray {crew.address}: cannot be joined" if crew.address else "Ray: cannot be started"
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise MachineError(f"{what} ({reason[0]}); `--workers 0` works without Ray") from error


def _handlers() -> dict[int, Any]:
    """The driver's own signal handlers."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        with suppress(ValueError, TypeError):
            signal.signal(number, handler)
