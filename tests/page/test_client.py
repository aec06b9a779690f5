"""The page from programs: the same results as on the command line, and clients that do not see each other."""

import io
import json
import shlex
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.cli import run
from scumble.core.errors import InputError, MachineError
from scumble.page.client import PageClient
from scumble.pictures import reading
from tests.page.conftest import Page, Serve

pytestmark = pytest.mark.slow  # each needs a running page

QUICK = {"source": "a red circle", "target": "a blue circle", "method": "dds", "settings": {"steps": 3}}
FLAGS = '--source "a red circle" --target "a blue circle" --method dds --steps 3'


def passport(data: bytes, folder: Path) -> dict[str, Any]:
    file = folder / "made.png"
    file.write_bytes(data)
    found = reading.read_passport(file)
    assert found
    return found


def same_but_for_seconds(here: bytes, there: bytes, folder: Path) -> None:
    """The two files are the same bytes once the first one's time is written into the second one."""
    took, other = (passport(data, folder)["seconds"] for data in (here, there))
    assert normal(here, took) == normal(there, other)


def normal(data: bytes, seconds: float) -> bytes:
    """A PNG without the seconds in its passport, nor the length and the checksum of the chunk that holds it."""
    start = data.index(b"iTXtscumble")
    length = int.from_bytes(data[start - 4 : start])
    text = data[start : start + 4 + length].replace(f'"seconds": {seconds}'.encode(), b'"seconds": 0')
    return data[: start - 4] + text + data[start + 8 + length :]


def test_an_edit_is_byte_for_byte_that_of_the_command_line(
    client: PageClient, png: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (made,) = client.edit(png, **QUICK)
    out = tmp_path / "out.png"
    assert run(["edit", str(png), *shlex.split(FLAGS), "--model", str(checkpoint), "-o", str(out)]) == 0
    same_but_for_seconds(made.data, out.read_bytes(), tmp_path)
    assert made.name == "circle.dds.png"


def test_a_mask_and_a_crop_are_those_of_the_command_line(
    client: PageClient, png: Path, checkpoint: Path, tmp_path: Path
) -> None:
    mask = Image.new("L", (96, 64))
    mask.paste(255, (30, 20, 50, 40))
    mask.save(png.with_name("mask.png"))
    (made,) = client.edit(png, mask=png.with_name("mask.png"), seed=5, keep="none", **QUICK)
    words = f"{FLAGS} --mask {png.with_name('mask.png')} --seed 5 --keep none"
    out = tmp_path / "out.png"
    assert run(["edit", str(png), *shlex.split(words), "--model", str(checkpoint), "-o", str(out)]) == 0
    same_but_for_seconds(made.data, out.read_bytes(), tmp_path)


def test_an_upload_is_deleted_by_its_own_client_alone(client: PageClient, page: Page, png: Path) -> None:
    upload, other = client.upload(png), PageClient(page.url)
    other.ask("DELETE", f"/api/pictures/{upload}")
    assert [picture["id"] for picture in client.ask("GET", "/api/pictures")] == [upload]
    client.ask("DELETE", f"/api/pictures/{upload}")
    with pytest.raises(InputError, match="not on the server any more"):
        client.ask("POST", "/api/edits", {**QUICK, "image": upload})
    other.close()


def test_targets_and_seeds_make_a_grid_with_the_command_lines_names(client: PageClient, png: Path) -> None:
    asked = QUICK | {"target": ["a blue circle", "a red star"], "seed": [1, 2]}
    made = client.edit(png, **asked)
    assert [one.name for one in made] == [
        "a-blue-circle.seed-1.png", "a-blue-circle.seed-2.png", "a-red-star.seed-1.png", "a-red-star.seed-2.png",
    ]  # fmt: skip
    assert len({one.data for one in made}) == 4
    packed = zipfile.ZipFile(io.BytesIO(client.raw("GET", "/api/results.zip")))
    assert {name: packed.read(name) for name in packed.namelist()} == {one.name: one.data for one in made}


def test_a_sweep(client: PageClient, png: Path) -> None:
    made = client.edit(png, **QUICK, over={"guidance": [2, 5.5], "seed": [0, 1]})
    assert [one.about["label"] for one in made] == [
        "guidance 2, seed 0", "guidance 2, seed 1", "guidance 5.5, seed 0", "guidance 5.5, seed 1",
    ]  # fmt: skip
    assert made[2].about["passport"]["settings"]["guidance"] == {"value": 5.5, "from": "user"}


def test_a_second_edit_of_a_picture_is_the_same_as_alone(client: PageClient, png: Path) -> None:
    """What is kept between edits of a picture changes no result."""
    asked = QUICK | {"method": "dds_fast"}
    id = client.upload(png)
    bodies = [{"image": id, **asked, "target": target} for target in ("a blue star", "a blue circle")]
    kept = [client.wait(client.ask("POST", "/api/edits", body)["id"])["results"][0] for body in bodies]
    (alone,) = client.edit(png, **asked)
    data = client.raw("GET", f"/api/results/{kept[1]['id']}/result.png")
    assert list(Image.open(io.BytesIO(data)).tobytes()) == list(Image.open(io.BytesIO(alone.data)).tobytes())


def test_an_inversion_is_kept_and_is_that_of_the_command_line(
    client: PageClient, png: Path, checkpoint: Path, tmp_path: Path
) -> None:
    asked = {"source": "a red circle", "method": "p2p", "settings": {"steps": 4}, "invert": True}
    body = {"image": client.upload(png), **asked, "target": ["a blue circle", "a red star"]}
    line = client.ask("POST", "/api/check", body)["command"].replace("circle.png", str(png))
    state = client.wait(client.ask("POST", "/api/edits", body)["id"])
    for command in line.replace("circle.inv", str(tmp_path / "circle.inv")).split(" && "):
        out = ["-o", str(tmp_path / "out")] if "scumble edit" in command else []
        assert run([*shlex.split(command)[1:], *out]) == 0
    for told in state["results"]:
        data = client.raw("GET", f"/api/results/{told['id']}/result.png")
        same_but_for_seconds(data, (tmp_path / "out" / told["file"]).read_bytes(), tmp_path)
        assert told["passport"]["given"]["inversion"]


def test_a_result_is_edited_further(client: PageClient, png: Path) -> None:
    (made,) = client.edit(png, **QUICK)
    again = client.ask("POST", f"/api/results/{made.about['id']}/use", {})
    assert again["name"] == made.name
    state = client.wait(client.ask("POST", "/api/edits", {"image": again["id"], **QUICK})["id"])
    assert state["results"][0]["file"] == "circle.dds.dds.png"


def test_heat_maps_of_words(client: PageClient, png: Path) -> None:
    made = client.words(png, "a red circle")
    assert made.name == "circle.attention.png"
    assert Image.open(io.BytesIO(made.data)).size[0] > 300


def test_size_orientation_and_transparency_are_kept(client: PageClient, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (60, 40), (200, 30, 30, 120))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    picture.save(tmp_path / "side.png", exif=exif)
    (made,) = client.edit(tmp_path / "side.png", **QUICK)
    image = Image.open(io.BytesIO(made.data))
    assert (image.size, image.mode) == ((40, 60), "RGBA")
    assert not image.getexif()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": ""}, "target: empty"),
        ({"method": "ddx"}, "did you mean"),
        ({"method": "sampling"}, "method"),
        ({"settings": {"stepz": 3}}, "did you mean 'steps'"),
        ({"settings": {"steps": 0}}, "steps: 0 must be at least 1"),
        ({"settings": {"steps": [1, {"a": 2}]}}, "steps"),
        ({"settings": 5}, "settings"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"size": 4096}, "size"),
        ({"keep": "some"}, "keep"),
        ({"negative": 3}, "negative"),
        ({"over": {"guidance": []}}, "guidance"),
        ({"over": {"seed": list(range(50))}}, "too many"),
        ({"over": [1]}, "over"),
        ({"lora": ["x"]}, "there is no 'lora'"),
        ({"given": {"bank": "/etc/passwd"}}, "there is no 'given'"),
        ({"model": "/etc"}, "is not on this page"),
        ({"editor": "/etc"}, "is not on this page"),
        ({"invert": True, "seed": [1, 2]}, "leave several seeds"),
        ({"invert": True, "method": "sdedit"}, "prepares nothing"),
        ({"invert": 3}, "not true or false"),
        ({"mask": "x"}, "upload it again"),
        ({"image": None}, "missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(client: PageClient, png: Path, wrong: dict[str, Any], message: str) -> None:
    body = {"image": client.upload(png), **QUICK, **wrong}
    with pytest.raises(InputError, match=message):
        client.wait(client.ask("POST", "/api/edits", body)["id"])


def test_the_check_says_the_command_line_and_unknown_words(client: PageClient, png: Path) -> None:
    body = {"image": client.upload(png), **QUICK}
    told = client.ask("POST", "/api/check", body)
    assert told["error"] == ""
    words = shlex.split(told["command"])
    assert words[:3] == ["scumble", "edit", "circle.png"]
    assert "no parameter 'x'" in client.ask("POST", "/api/check", body | {"settings": {"x": 1}})["error"]


def test_a_request_is_cancelled_while_it_runs_and_while_it_waits(client: PageClient, png: Path) -> None:
    long = QUICK | {"settings": {"steps": 900}}
    running, waiting = client.start(png, **long), client.start(png, **long)
    while client.state(running)["progress"] is None:
        pass
    assert client.state(waiting)["place"] == 1
    client.cancel(waiting)
    client.cancel(running)
    assert client.wait(running)["state"] == client.wait(waiting)["state"] == "cancelled"
    assert client.edit(png, **QUICK)  # the page goes on


def test_a_request_that_waits_keeps_its_picture(client: PageClient, page: Page, png: Path) -> None:
    """Also when many other pictures are uploaded meanwhile, and when it is deleted."""
    long = client.start(png, **QUICK | {"settings": {"steps": 900}})
    waiting = [client.ask("POST", "/api/edits", {"image": client.upload(png), **QUICK})["id"] for _ in "ab"]
    first, second = (each["id"] for each in client.ask("GET", "/api/pictures")[1:])
    for _ in range(31):
        client.upload(png)
    kept = [picture["id"] for picture in client.ask("GET", "/api/pictures")]
    assert len(kept) == 30
    assert {first, second} <= {*kept}
    client.ask("DELETE", f"/api/pictures/{second}")
    client.cancel(long)
    assert [client.wait(job)["state"] for job in (long, *waiting)] == ["cancelled", "done", "done"]


def test_one_client_has_few_requests_at_a_time(client: PageClient, png: Path) -> None:
    long = QUICK | {"settings": {"steps": 900}}
    jobs = [client.start(png, **long) for _ in range(3)]
    with pytest.raises(MachineError, match="you have 3 requests already"):
        client.start(png, **long)
    for job in jobs:
        client.cancel(job)
        client.wait(job)


def test_clients_do_not_see_each_other(page: Page, png: Path) -> None:
    mine, other = PageClient(page.url), PageClient(page.url)
    picture = mine.upload(png)
    job = mine.ask("POST", "/api/edits", {"image": picture, **QUICK})["id"]
    result = mine.wait(job)["results"][0]["id"]
    for path in (f"pictures/{picture}", f"jobs/{job}", f"jobs/{job}/events", f"results/{result}/result.png"):
        assert mine.raw("GET", f"/api/{path}")
        with pytest.raises(InputError):
            other.raw("GET", f"/api/{path}")
    with pytest.raises(InputError):
        other.ask("POST", f"/api/results/{result}/use", {})
    with pytest.raises(InputError):
        other.ask("POST", "/api/edits", {"image": picture, **QUICK})
    other.ask("DELETE", f"/api/results/{result}")
    assert [one["id"] for one in mine.ask("GET", "/api/results")] == [result]
    assert other.ask("GET", "/api/results") == []
    mine.close()
    other.close()


def test_many_clients_at_once_get_their_own(page: Page, png: Path) -> None:
    answers = dict[int, bytes]()

    def ask(seed: int) -> None:
        client = PageClient(page.url)
        made = [one for _ in range(2) for one in client.edit(png, **QUICK, seed=seed)]
        assert {one.about["seed"] for one in made} == {seed}
        answers[seed] = Image.open(io.BytesIO(made[0].data)).tobytes()
        client.close()

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers.values())) == 6


def test_nothing_is_left_on_the_disk(serve: Serve, png: Path) -> None:
    page = serve()
    client = PageClient(page.url)
    client.edit(png, **QUICK)
    assert len(page.files) >= 4
    client.close()
    assert page.files == []
    client.edit(png, **QUICK)
    running = client.start(png, **QUICK | {"settings": {"steps": 900}})
    while client.state(running)["progress"] is None:
        pass
    assert page.close() == 0
    assert page.files == []
    assert "Traceback" not in page.log.read_text()


def test_results_come_with_a_passport_that_replays(
    client: PageClient, png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    (made,) = client.edit(png, **QUICK)
    (png.parent / made.name).write_bytes(made.data)
    assert run(["replay", str(png.parent / made.name), "--model", str(checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["largest"] == 0
