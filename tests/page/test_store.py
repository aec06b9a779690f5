"""What the server keeps for its clients, and for how long: uploads stay while a request waits with them."""

import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

from scumble.core.errors import InputError
from scumble.page.asking import understood
from scumble.page.desk import Full
from scumble.page.files import zipped
from scumble.page.house import House
from scumble.page.job import Job
from scumble.page.options import Limits, Options
from scumble.page.store import Client, Result, Store

GONE = "picture: it is not on the server any more; upload it again"


@pytest.fixture
def store() -> Generator[Store]:
    store = Store(Limits(pictures=3))
    yield store
    store.close()


@pytest.fixture
def client(store: Store) -> Client:
    return store.client(None)


def keep(client: Client, *names: str) -> None:
    for name in names:
        client.keep(b"", name, (1, 1))


def names(client: Client) -> list[str]:
    return [upload.name for upload in client.pictures.values()]


def test_the_picture_that_was_not_used_for_longest_is_pushed_out(client: Client) -> None:
    keep(client, "a", "b", "c")
    first = client.upload(next(iter(client.pictures)))
    keep(client, "d")
    assert names(client) == ["c", "a", "d"]
    assert len(list(client.folder.iterdir())) == 3
    assert first.file.exists()


def test_what_a_request_waits_with_is_not_pushed_out(client: Client) -> None:
    held = [client.keep(b"held", name, (1, 1)) for name in ("a", "b")]
    client.hold(held)
    keep(client, "c", "d", "e")
    assert names(client) == ["a", "b", "e"]
    client.let_go(held)
    keep(client, "f", "g")
    assert names(client) == ["e", "f", "g"]
    assert not any(each.file.exists() for each in held)


def test_more_may_be_held_than_are_kept(client: Client) -> None:
    held = [client.keep(b"held", str(k), (1, 1)) for k in range(3)]
    client.hold(held)
    keep(client, "new", "newer")
    assert names(client) == ["0", "1", "2", "newer"]


def test_a_deleted_picture_lasts_until_the_last_request_with_it_has_ended(client: Client) -> None:
    held = client.keep(b"held", "a", (1, 1))
    client.hold([held])
    client.hold([held, held])
    client.discard(held.id)
    with pytest.raises(InputError, match=GONE):
        client.upload(held.id)
    client.let_go([held, held])
    assert held.read() == b"held"
    client.let_go([held])
    with pytest.raises(InputError, match=GONE):
        held.read()
    with pytest.raises(InputError, match=GONE):
        client.hold([held])


def test_a_result_that_is_pushed_out_is_missing_from_the_zip_file(client: Client) -> None:
    client.folder.mkdir()
    for name in ("a", "b"):
        file = client.folder / name
        file.write_bytes(name.encode())
        client.add(Result(name, {"result.png": file}, {"file": f"{name}.png"}))
    (client.folder / "a").unlink()
    with zipfile.ZipFile(zipped(client)) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {"b.png": b"b"}


BODY = {"source": "a", "target": "b", "method": "dds", "settings": {"steps": 1}}


@pytest.fixture
def house() -> Generator[House]:
    house = House(Options(models=("tiny",), limits=Limits(pictures=1, waiting=1)))
    yield house
    house.close()


def request(house: House, client: Client, png: Path) -> Job:
    picture = client.keep(png.read_bytes(), "circle.png", (96, 64))
    return Job(client, understood({"image": picture.id, **BODY}, client, house.options))


def test_a_request_that_is_refused_holds_nothing(house: House, png: Path) -> None:
    client = house.store.client(None)
    house.submit(request(house, client, png))
    refused = request(house, client, png)
    with pytest.raises(Full, match="you have 1 requests already"):
        house.submit(refused)
    keep(client, "new")
    assert names(client) == ["circle.png", "new"]
    assert not refused.asked.uploads["image"].file.exists()


def test_a_request_whose_picture_went_while_it_was_read_is_refused(house: House, png: Path) -> None:
    client = house.store.client(None)
    job = request(house, client, png)
    keep(client, "new")
    with pytest.raises(InputError, match=GONE):
        house.submit(job)
    assert house.job(client, job.id) is None
