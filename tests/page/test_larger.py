"""Results that a stage draws larger: the same as on the command line, shared, stopped, refused."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import scumble
from scumble.core.errors import InputError
from scumble.networks.sr3 import SR3Network
from scumble.page.asking import understood
from scumble.page.checking import checked
from scumble.page.facts import model_told
from scumble.page.house import House
from scumble.page.job import Job
from scumble.page.options import Limits, Options
from scumble.page.store import Client

STEPS = 3
ASKED: dict[str, Any] = {
    "source": "a red circle", "target": "a blue circle", "method": "dds", "settings": {"steps": STEPS}, "upscale": 2,
}  # fmt: skip
CALLS = 4  # of the stage's network for one picture of one tile


@pytest.fixture
def prior(prior: scumble.Prior, stage: Path, monkeypatch: pytest.MonkeyPatch) -> scumble.Prior:
    """The tiny model, with the stage that its card names."""
    monkeypatch.setattr(type(prior), "card", replace(prior.card, upscaler=str(stage)))
    return prior


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for every call of the stage's network."""
    made, forward = list[int](), SR3Network.forward

    def counted(self: SR3Network, *rest: Any) -> Any:
        made.append(1)
        return forward(self, *rest)

    monkeypatch.setattr(SR3Network, "forward", counted)
    return made


def submitted(house: House, client: Client, png: Path, **fields: Any) -> Job:
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    job = Job(client, understood({"image": picture.id, **ASKED, **fields}, client, house.options))
    house.submit(job)
    return job


def ended(job: Job) -> Job:
    while not job.ended:
        job.watch()
        time.sleep(0.01)
    return job


def pictures(job: Job) -> list[bytes]:
    files = [job.client.results[told["id"]].files["result.png"] for told in job.results]
    return [Image.open(file).tobytes() for file in files]


@pytest.mark.slow
def test_a_grid_is_what_each_edit_is_alone_and_draws_the_input_once(
    house: House, prior: scumble.Prior, png: Path, calls: list[int]
) -> None:
    targets = ["a blue circle", "a green star"]
    job = ended(submitted(house, house.store.client(None), png, target=targets))
    assert job.message == ""
    assert len(calls) == 3 * CALLS  # the input, and two results
    assert [told["size"] for told in job.results] == [[192, 128]] * 2
    asked = {k: v for k, v in ASKED.items() if k != "target"}
    alone = [scumble.edit(png, model=prior, target=target, **asked).picture for target in targets]
    assert pictures(job) == [picture.tobytes() for picture in alone if picture]


def test_progress_goes_on_while_the_result_is_drawn_larger(house: House, png: Path) -> None:
    seen, change = list[tuple[int, int]](), Job.change
    client = house.store.client(None)
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    job = Job(client, understood({"image": picture.id, **ASKED}, client, house.options))

    def watched(**values: Any) -> None:
        if now := values.get("progress"):
            seen.append((now.k, now.n))
        change(job, **values)

    job.change = watched  # type: ignore[method-assign]
    house.submit(job)
    assert ended(job).state == "done"
    n = STEPS + 2 * CALLS
    assert seen == [(k, n) for k in range(1, n + 1)]


def test_a_cancelled_edit_stops_before_the_next_call_of_the_stage(
    house: House, png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, forward = list[int](), SR3Network.forward
    jobs = list[Job]()

    def third(self: SR3Network, *rest: Any) -> Any:
        made.append(1)
        if len(made) == 3:
            jobs[0].cancel()
        return forward(self, *rest)

    monkeypatch.setattr(SR3Network, "forward", third)
    client = house.store.client(None)
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    jobs.append(Job(client, understood({"image": picture.id, **ASKED}, client, house.options)))
    house.submit(jobs[0])
    assert ended(jobs[0]).state == "cancelled"
    assert len(made) == 3


def test_a_model_without_a_stage_says_so(
    house: House, prior: scumble.Prior, png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, client = house.desks["tiny"], house.store.client(None)
    assert ended(submitted(house, client, png)).state == "done"
    assert model_told(desk)["upscales"] is True
    desk.card = replace(prior.card, upscaler=None)
    assert model_told(desk)["upscales"] is False
    picture = next(iter(client.pictures))
    said = checked({"image": picture, **ASKED}, client, house)
    assert said["error"].startswith("upscale: no stage was made for")
    assert "--upscale 2" in said["command"]
    small = client.keep(png.read_bytes(), "small.png", (96, 10))
    desk.card = prior.card
    told = checked({"image": small.id, **ASKED}, client, house)
    assert told["error"] == "small.png: 96x10 pixels; the stage needs 16 or more a side"


def test_a_result_may_be_no_larger_than_a_picture_may_be(house: House, png: Path) -> None:
    options = Options(limits=Limits(pixels=96 * 64 * 4))
    client = house.store.client(None)
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    body = {"image": picture.id, **ASKED}
    assert understood(body, client, options).recipe.upscale == 2
    with pytest.raises(InputError, match="upscale: 384x256 is 0 megapixels; this page makes at most 0"):
        understood(body | {"upscale": 4}, client, options)
    with pytest.raises(InputError, match="upscale: 3; a stage doubles a picture"):
        understood(body | {"upscale": 3}, client, options)
