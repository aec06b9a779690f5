"""How Ray is started; Ray itself is tested in test_killed, where it is installed."""

import types
from pathlib import Path
from typing import Any

import pytest

from scumble.batch import workers
from scumble.batch.rows import Row
from scumble.batch.workers import Crew
from scumble.core.errors import InputError, MachineError
from scumble.editing.recipe import Recipe

from .conftest import Batch


class Ray(types.SimpleNamespace):
    """Stands for Ray: its first `fails` starts fail; then it has an address."""

    def __init__(self, fails: int = 0, address: str = "127.0.0.1"):
        super().__init__(util=types.SimpleNamespace(get_node_ip_address=lambda: address))
        self.fails, self.asked, self.down = fails, list[dict[str, Any]](), 0

    def init(self, **asked: Any) -> None:
        self.asked.append(asked)
        if len(self.asked) <= self.fails:
            raise Exception("The current node timed out during startup.\nAnd so on.")

    def shutdown(self) -> None:
        self.down += 1


def test_a_start_that_takes_too_long_is_tried_again() -> None:
    ray = Ray(fails=2)
    workers._begin(ray, Crew(2, threads=3))
    assert (len(ray.asked), ray.down) == (3, 2)
    assert (ray.asked[-1]["address"], ray.asked[-1]["num_cpus"]) == ("local", 6)
    with (
        pytest.raises(
            MachineError, match=r"Ray: cannot be started \(The current node timed out during startup.\)"
        ),
        workers._explained(Crew(2)),
    ):
        workers._begin(Ray(fails=3), Crew(2))


def test_ray_on_an_address_that_others_reach_is_refused() -> None:
    with pytest.raises(MachineError, match=r"it listens on 10\.0\.0\.7, where other machines can reach it"):
        workers._begin(Ray(address="10.0.0.7"), Crew(2))


def test_tokens_cannot_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(
        InputError, match="RAY_AUTH_MODE: 'disabled' lets anyone who reaches Ray run code here"
    ):
        workers._ray(Crew(2))


def test_workers_get_the_whole_names_of_a_models_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may run in another folder; what is no file here stays as it is."""
    monkeypatch.chdir(tmp_path)
    for name in ("net", "scenes"):
        Path(name).mkdir()
    for name in ("a.safetensors", "b.safetensors", "w.pt"):
        Path(name).touch()
    own = Recipe(
        image="p.png",
        model="net",
        lora=("a.safetensors", "b.safetensors:0.8", "owner/c"),
        embedding=("w.pt",),
    )
    rows = [Row(1, None, own, "1", "1.png"), Row(2, None, Recipe(image="p.png"), "2", "2.png")]
    one, two = workers._read(workers._written(rows))
    assert one.recipe.model == str(tmp_path / "net")
    assert one.recipe.lora == (
        str(tmp_path / "a.safetensors"), f"{tmp_path / 'b.safetensors'}:0.8", "owner/c",
    )  # fmt: skip
    assert one.recipe.embedding == (str(tmp_path / "w.pt"),)
    assert (two.recipe.model, own.model) == ("scenes", "net")


def test_no_workers_are_none_also_on_a_cluster(
    batch: Batch, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hired(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(workers, "hired", hired)
    assert batch(rows, "--ray", "auto", "--workers", 0) == 0


def test_there_is_room_on_single_nodes() -> None:
    def node(alive: bool = True, **there: float) -> dict[str, Any]:
        return {"Alive": alive, "Resources": there}

    def room(threads: int, gpus: float = 0.0) -> int:
        nodes = [node(CPU=6.0, GPU=2.0), node(CPU=5.0), node(CPU=64.0, alive=False)]
        ray = types.SimpleNamespace(nodes=lambda: nodes)
        return workers._room(ray, Crew(None, "auto", threads, gpus))

    assert (room(1), room(3), room(6), room(1, 0.5), room(3, 0.5)) == (11, 3, 1, 4, 2)
    with pytest.raises(InputError, match="no node has 8 processors and 0 GPUs"):  # all have eleven
        room(8)
