"""What edits of a page share, and what is told of each."""

import time
from pathlib import Path
from typing import Any

import pytest

import scumble
from scumble.page.asking import understood
from scumble.page.house import House
from scumble.page.job import Job
from scumble.page.store import Client, Upload

ASKED: dict[str, Any] = {"source": "a red circle", "target": "a blue circle"}


@pytest.fixture
def calls(prior: scumble.Prior, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for every call of the network."""
    made, predict = list[int](), type(prior).predict

    def counted(self: Any, *rest: Any, **named: Any) -> Any:
        made.append(1)
        return predict(self, *rest, **named)

    monkeypatch.setattr(type(prior), "predict", counted)
    return made


def picture(client: Client, png: Path) -> Upload:
    return client.keep(png.read_bytes(), "circle.png", (96, 64))


def done(house: House, client: Client, image: Upload, **fields: Any) -> Job:
    job = Job(client, understood({"image": image.id, **ASKED, **fields}, client, house.options))
    house.submit(job)
    while not job.ended:
        job.watch()
        time.sleep(0.01)
    assert job.message == ""
    return job


def test_a_kept_inversion_is_not_made_again(house: House, png: Path, calls: list[int]) -> None:
    """Unless the picture, the seed or a value is another one."""
    client = house.store.client(None)
    image = picture(client, png)
    asked: dict[str, Any] = {"method": "p2p", "settings": {"steps": 4}, "invert": True}

    def cost(image: Upload = image, **fields: Any) -> int:
        before = len(calls)
        done(house, client, image, **asked | fields)
        return len(calls) - before

    first = cost()
    assert first > 4
    assert cost(target="a red star") == first - 4
    assert cost(target=["a blue star", "a green star"]) == 2 * (first - 4)
    assert cost(seed=1) == first
    assert cost(source="a circle") == first
    assert cost(image=picture(client, png)) == first
    assert (
        cost(settings={"steps": 3}) < first
    )  # other values: whatever it costs, the old inversion does not fit
    assert cost(target="a red star", settings={"steps": 3}) < cost(settings={"steps": 3}, seed=5)


def test_each_edit_of_a_request_tells_its_own_values(house: House, png: Path) -> None:
    client = house.store.client(None)
    image = picture(client, png)
    quick: dict[str, Any] = {"method": "dds", "settings": {"steps": 1}}
    (alone,) = done(house, client, image, **quick).results
    assert alone["values"] == {}
    grid = done(house, client, image, **quick, target=["a", "b"], seed=[1, 2])
    assert [one["values"] for one in grid.results] == [{"target": t, "seed": s} for t in "ab" for s in (1, 2)]
    assert {one["job"] for one in grid.results} == {grid.id}
    swept = done(house, client, image, method="dds", over={"steps": [1, 2]})
    assert [one["values"] for one in swept.results] == [{"steps": 1}, {"steps": 2}]
