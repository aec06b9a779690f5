"""The queue of a model: turns, stopping, and what goes wrong."""

import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import scumble
from scumble.core.errors import MachineError
from scumble.core.loading import Loading
from scumble.core.request import Cancelled
from scumble.editing import loading
from scumble.editing.checks import method_class, method_names
from scumble.networks.editor import Editor, EditorConfig, Task, probe_picture
from scumble.page.asking import understood
from scumble.page.desk import Full, told
from scumble.page.facts import model_told
from scumble.page.house import House
from scumble.page.job import Job
from scumble.page.options import Limits, Options
from scumble.page.room import Room
from scumble.page.stopping import Stoppable
from scumble.page.store import Client

QUICK = {"source": "a red circle", "target": "a blue circle", "method": "dds", "settings": {"steps": 3}}


@pytest.fixture(scope="module")
def prior(checkpoint: Path) -> scumble.Prior:
    return scumble.load(checkpoint, device="cpu")


@pytest.fixture
def house(prior: scumble.Prior, monkeypatch: pytest.MonkeyPatch) -> Generator[House]:
    """A house whose only model is the tiny one; its desk has not begun."""
    monkeypatch.setattr(loading, "load", lambda asked: prior if isinstance(asked.model, str) else asked.model)
    house = House(Options(models=("tiny",), limits=Limits(waiting=10)))
    yield house
    house.close()


Ask = Callable[..., Job]


@pytest.fixture
def ask(house: House, png: Path) -> Ask:
    """ask(client, **fields): a client's request, in the queue."""

    def ask(client: Client, **fields: Any) -> Job:
        picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
        job = Job(client, understood({"image": picture.id, **QUICK, **fields}, client, house.options))
        house.submit(job)
        return job

    return ask


def ended(job: Job) -> Job:
    while not job.ended:
        job.watch()
        time.sleep(0.01)
    return job


def test_clients_take_turns_and_see_their_place(house: House, ask: Ask) -> None:
    greedy, other = house.store.client(None), house.store.client(None)
    jobs = [ask(greedy), ask(greedy), ask(greedy), ask(other)]
    assert [house.place(job) for job in jobs] == [0, 2, 3, 1]
    order: list[Job] = []
    for job in jobs:
        job.change = lambda job=job, **values: (  # type: ignore[method-assign]
            order.append(job) if values.get("state") == "done" else None,
            Job.change(job, **values),
        )
    house.start()
    for job in jobs:
        ended(job)
    assert order == [jobs[0], jobs[3], jobs[1], jobs[2]]


def test_a_full_queue_says_so(prior: scumble.Prior, house: House, ask: Ask) -> None:
    clients = [house.store.client(None) for _ in range(11)]
    for client in clients[:10]:
        for _ in range(10):
            ask(client)
    with pytest.raises(Full, match="100 requests wait"):
        ask(clients[10])
    with pytest.raises(Full, match="you have 10 requests already"):
        ask(clients[0])


def test_out_of_memory_is_one_message_and_the_page_goes_on(
    house: House, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, calls = Stoppable.predict, list[int]()

    def short(self: Stoppable, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return predict(self, *rest)

    monkeypatch.setattr(Stoppable, "predict", short)
    house.start()
    client = house.store.client(None)
    failed = ended(ask(client))
    assert failed.state == "failed"
    assert failed.message.startswith("memory: cpu ran out")
    assert ended(ask(client)).state == "done"


def test_a_bug_is_a_number_without_a_trace(
    house: House, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("/home/owner/secret")

    monkeypatch.setattr(Stoppable, "predict", broken)
    house.start()
    job = ended(ask(house.store.client(None)))
    assert job.message.startswith("unexpected error ")
    assert "secret" not in job.message
    number = job.message.split()[2].rstrip(":")
    assert any(number in record.getMessage() for record in caplog.records)


def test_a_model_is_not_told_as_loaded_before_its_card_is_known(
    house: House, prior: scumble.Prior, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, seen, card = house.desks["tiny"], list[dict[str, Any]](), prior.card

    def slow(self: Stoppable) -> Any:
        seen.append(model_told(desk))
        return card

    monkeypatch.setattr(Stoppable, "card", property(slow))
    house.start()
    while desk.loading:
        time.sleep(0.01)
    assert [told["loaded"] for told in seen] == [False]
    assert model_told(desk)["domain"] == card.domain


def test_a_model_that_cannot_be_loaded_is_a_message(
    house: House, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(asked: Loading) -> None:
        raise MachineError("model 'tiny': no connection")

    monkeypatch.setattr(loading, "load", no)
    house.start()
    job = ended(ask(house.store.client(None)))
    assert (job.state, job.message) == ("failed", "model 'tiny': no connection")


def test_only_the_first_model_is_loaded_before_it_is_asked_for(
    prior: scumble.Prior, monkeypatch: pytest.MonkeyPatch, png: Path
) -> None:
    asked: list[tuple[object, bool]] = []

    def load(how: Loading) -> scumble.Prior:
        if not isinstance(how.model, str):
            return how.model  # type: ignore[return-value]
        asked.append((how.model, how.offline))
        return prior

    monkeypatch.setattr(loading, "load", load)
    house = House(Options(models=("one",), cached=("a/two", "one")))
    assert list(house.desks) == ["one", "a/two"]
    house.start()
    client = house.store.client(None)
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    job = Job(client, understood({"image": picture.id, **QUICK, "model": "a/two"}, client, house.options))
    house.submit(job)
    assert ended(job).state == "done"
    house.close()
    assert sorted(asked) == [("a/two", True), ("one", True)]


def test_a_trained_editor_is_a_method_of_the_page(
    prior: scumble.Prior, monkeypatch: pytest.MonkeyPatch, png: Path, tmp_path: Path
) -> None:
    probe = prior.encode(probe_picture()).detach()
    config = EditorConfig(channels=probe.shape[1], widths=(8,), attention=(False,), head=8, groups=4)
    editor = Editor(config, (Task(name="star", source="a", target="b"),), probe=probe)
    for k, p in enumerate(editor.parameters()):  # an untrained editor changes nothing
        p.data = torch.sin(torch.arange(p.numel()) + k).reshape(p.shape) / 4
    editor.save(tmp_path / "mine")
    monkeypatch.setattr(loading, "load", lambda asked: prior if isinstance(asked.model, str) else asked.model)
    house = House(Options(models=("tiny",), editors={"mine": str(tmp_path / "mine")}))
    house.start()
    client = house.store.client(None)
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    body = {"image": picture.id, "method": "editor", "editor": "mine", "settings": {"strength": 1.5}}
    job = Job(client, understood(body, client, house.options))
    house.submit(job)
    assert ended(job).message == ""
    file = client.results[job.results[0]["id"]].files["result.png"]
    alone = scumble.edit(
        png,
        model=prior,
        method="editor",
        settings={"strength": 1.5},
        given={"editor": str(tmp_path / "mine")},
    )
    assert alone.picture
    assert Image.open(file).tobytes() == alone.picture.tobytes()
    house.close()


def test_what_nobody_watches_is_cancelled(prior: scumble.Prior, house: House, ask: Ask) -> None:
    job = ask(house.store.client(None))
    job.seen -= house.options.limits.unwatched + 1
    house.start()
    while not job.ended:
        time.sleep(0.01)
    assert job.state == "cancelled"


def test_warnings_come_with_the_result_that_they_belong_to(house: House, ask: Ask, png: Path) -> None:
    with told():
        house.start()
        job = ended(ask(house.store.client(None), target="🙂"))
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
    assert any("it has no words" in text for text in job.warnings)


SHALLOW: dict[str, dict[str, object]] = {
    "masactrl": {"layer": 3},
    "plug_and_play": {"feature_block": 2, "attention_layer": 1},
}
"""Values for a network of few layers."""


@pytest.mark.slow
@pytest.mark.parametrize("name", method_names())
def test_every_method_stops_before_the_next_network_call(name: str, prior: scumble.Prior, png: Path) -> None:
    """Whatever a method does in one step: after a cancellation, the network is not asked again."""
    kind = method_class(name)
    if kind.needs.given or kind.needs.mask or kind.needs.reference:
        pytest.skip(f"{name} needs more than a picture and two prompts")
    calls, stopped_at = list[int](), 5

    def stop() -> None:
        if len(calls) == stopped_at:
            raise Cancelled
        calls.append(1)

    from scumble.editing.plan import plan
    from scumble.editing.recipe import Recipe

    asked: dict[str, Any] = {"method": name, "settings": SHALLOW.get(name, {})}
    prompts = {"source": "a red circle", "target": "a blue circle"}
    made = plan(Recipe(png, **prompts, **asked, model=Stoppable(prior, stop)))
    with pytest.raises(Cancelled):
        made()
    assert len(calls) == stopped_at


def test_a_stoppable_prior_makes_the_same_edit(prior: scumble.Prior, png: Path) -> None:
    asked: dict[str, Any] = {**QUICK, "method": "p2p", "settings": {"steps": 4}}
    plain = scumble.edit(png, model=prior, **asked)
    same = scumble.edit(png, model=Stoppable(prior, lambda: None), **asked)
    assert plain.picture
    assert same.picture
    assert plain.picture.tobytes() == same.picture.tobytes()
    without = [{k: v for k, v in e.provenance.items() if k != "seconds"} for e in (plain, same)]
    assert without[0] == without[1]


@pytest.mark.slow
def test_the_model_that_was_used_longest_ago_makes_room(
    prior: scumble.Prior, png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = list[object]()
    monkeypatch.setattr(
        loading,
        "load",
        lambda asked: loads.append(asked.model) or prior if isinstance(asked.model, str) else asked.model,
    )
    house = House(Options(models=("first", "second", "third"), loaded=2))
    client = house.store.client(None)
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))

    def make(model: str) -> str:
        body = {"image": picture.id, **QUICK, "settings": {"steps": 1}, "model": model}
        job = Job(client, understood(body, client, house.options))
        house.submit(job)
        assert ended(job).state == "done"
        return ", ".join(name for name, desk in house.desks.items() if desk.maker)

    house.start()
    held = [make(model) for model in ("first", "second", "first", "third", "second")]
    told = model_told(house.desks["first"])
    house.close()
    assert held == ["first", "first, second", "first, second", "first, third", "second, third"]
    assert loads == ["first", "second", "third", "second"]
    assert (told["loaded"], told["domain"], told["device"]) == (False, prior.card.domain, None)


def test_a_model_waits_while_all_others_are_in_use() -> None:
    room, gone, checks = Room(1), list[str](), list[str]()

    def first() -> None:
        gone.append("first")

    def second() -> None:
        gone.append("second")

    def check() -> None:
        checks.append("")
        if len(checks) == 3:
            raise Cancelled

    with room.used(first, check), pytest.raises(Cancelled), room.used(second, check):
        raise AssertionError
    assert gone == []
    with room.used(second, check):
        pass
    assert gone == ["first"]


def test_heat_maps_need_attention_of_either_kind(house: House, prior: scumble.Prior) -> None:
    desk = house.desks["tiny"]
    for capability, heat in {"control": True, "joint": True, "gradient": False}.items():
        desk.card = replace(prior.card, capabilities=frozenset({"text", capability}))
        assert model_told(desk)["heat"] is heat
