"""How Ray is started; Ray itself is tested in test_killed, where it is installed."""

import types
from typing import Any

import pytest

from scumble.batch import workers
from scumble.batch.workers import Crew
from scumble.core.errors import InputError, MachineError


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
