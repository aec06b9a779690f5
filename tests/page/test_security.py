"""What the page must not do, whoever asks."""

import base64
import http.client
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from scumble.cli import run
from scumble.core.errors import InputError
from scumble.page.client import PageClient
from scumble.page.options import Options
from tests.page.conftest import Page, Serve

pytestmark = pytest.mark.slow  # each needs a running page

QUICK = {"source": "a red circle", "target": "a blue circle", "method": "dds", "settings": {"steps": 3}}
Ask = Callable[..., tuple[int, dict[str, str], bytes]]


def ask(
    page: Page, path: str, how: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One plain request, its path as it is: status, headers, body."""
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=60)
    connection.putrequest(how, path, skip_host="host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None and "content_length" not in headers:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


# Where it listens ----------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_alone(page: Page) -> None:
    assert urlsplit(page.url).hostname == "127.0.0.1"
    assert Options().host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_another_address_needs_a_password(host: str) -> None:
    with pytest.raises(InputError, match="--password"):
        Options(host=host)
    assert Options(host=host, password="long enough").password


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_none(host: str) -> None:
    assert Options(host=host).local


def test_a_short_password_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["page", "--password", "short"]) == 2
    assert "password: too short" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["page", "--port", str(port)]) == 2
    assert f"port: 127.0.0.1:{port} cannot be used" in capsys.readouterr().err


def test_no_option_opens_a_public_tunnel(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["page", "--share"]) == 2


# Who asks ------------------------------------------------------------------------------------------------


def test_the_password_is_asked_of_everyone(serve: Serve, png: Path) -> None:
    page = serve("--password", "correct horse")
    for path in ("/", "/static/page.js", "/api", "/api/results", "/nothing"):
        status, headers, body = ask(page, path)
        assert status == 401
        assert headers["www-authenticate"].startswith("Basic")
        assert b"password" in body
    wrong = base64.b64encode(b"x:correct horsf").decode()
    for said in (f"Basic {wrong}", "Basic", "Basic \xff", f"Bearer {wrong}", "Basic !!!!", ""):
        assert ask(page, "/", authorization=said)[0] == 401
    client = PageClient(page.url, "correct horse")
    assert client.edit(png, **QUICK)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "[::1", ""])
def test_another_name_for_this_machine_is_refused(page: Page, host: str) -> None:
    """A site whose name is made to lead to 127.0.0.1 (DNS rebinding) does not reach the page."""
    assert ask(page, "/api", host=host)[0] in (400, 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_other_sites_cannot_ask(page: Page, origin: str) -> None:
    body = json.dumps({}).encode()
    assert ask(page, "/api/edits", "POST", body, origin=origin, content_type="application/json")[0] == 403
    assert ask(page, "/api/pictures", "POST", b"x", origin=origin)[0] == 403


def test_other_sites_cannot_embed_what_is_here(page: Page) -> None:
    assert ask(page, "/api", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    assert ask(page, "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200


def test_forms_of_other_sites_are_no_requests(page: Page) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(page, "/api/edits", "POST", b"{}", content_type=kind)[0] == 422


def test_browsers_are_told_to_keep_to_the_page(page: Page) -> None:
    for path in ("/", "/static/page.js", "/api", "/nothing"):
        _, headers, _ = ask(page, path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    cookie = ask(page, "/")[1]["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


# What it reads -------------------------------------------------------------------------------------------

PATHS = [
    "/static/../options.py", "/static/%2e%2e/options.py", "/static/..%2foptions.py", "/static//etc/passwd",
    "/static/%2fetc%2fpasswd", "/static/....//options.py", "/static/..\\options.py",
    "/api/pictures/..%2f..%2fetc%2fpasswd",
    "/api/results/x/..%2f..%2fresult.png", "/api/results/../../etc/passwd", "/file=/etc/passwd", "/../../etc/passwd",
    "/gradio_api/file=/etc/passwd", "/api/results/%00/result.png",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_file_of_the_server_is_read(page: Page, path: str) -> None:
    status, _, body = ask(page, path)
    assert status in (400, 404, 422)
    assert b"root:" not in body
    assert b"dataclass" not in body


@pytest.mark.parametrize("name", ["image", "mask", "reference"])
@pytest.mark.parametrize(
    "said", ["/etc/passwd", "http://127.0.0.1/x.png", "file:///etc/passwd", ["x"], {"url": "x"}, 3]
)
def test_pictures_are_neither_paths_nor_addresses(
    client: PageClient, png: Path, name: str, said: object
) -> None:
    body = {"image": client.upload(png), **QUICK, name: said}
    with pytest.raises(InputError, match="upload it again"):
        client.ask("POST", "/api/edits", body)


@pytest.mark.parametrize("method", ["./evil.py:Evil", "/tmp/evil.py:Evil", "os:system", ["dds"], {"a": 1}])
def test_no_code_is_named(client: PageClient, png: Path, tmp_path: Path, method: object) -> None:
    with pytest.raises(InputError, match="method"):
        client.ask("POST", "/api/edits", {"image": client.upload(png), **QUICK, "method": method})


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/passwd", "..\\..\\evil.png", "a\x00b\n.png", "", "." * 300, "x" * 999]
)
def test_a_name_is_only_a_name(page: Page, client: PageClient, png: Path, name: str) -> None:
    id = client.upload(png.read_bytes(), name)
    kept = next(one["name"] for one in client.ask("GET", "/api/pictures") if one["id"] == id)
    assert "/" not in kept
    assert "\\" not in kept
    assert kept.isprintable()
    assert 0 < len(kept) < 100
    assert all(file.is_relative_to(page.folder) for file in page.files)


# What it takes -------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A small PNG file whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bomb(20_000, 20_000), "megapixels"),
        (bomb(8_000, 7_000), "56 megapixels"),
        (bomb(100, 100), "broken or truncated"),
        (b"", "empty"),
        (b"GIF89a" + b"\0" * 50, "not a PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG, JPEG or WebP"),
        (b"\x00" * 1000, "not a PNG, JPEG or WebP"),
    ],
    ids=["bomb", "large", "truncated", "empty", "gif", "svg", "zeros"],
)
def test_what_is_no_picture_is_refused(client: PageClient, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        client.upload(data)


def test_large_uploads_are_refused_before_they_arrive(page: Page) -> None:
    status, _, body = ask(page, "/api/pictures", "POST", b"", content_length=str(10**12))
    assert status == 422
    assert b"more than 50 MB" in body
    status, _, body = ask(
        page, "/api/edits", "POST", b"", content_length=str(10**9), content_type="application/json"
    )
    assert status == 422


def test_an_upload_without_a_length_is_limited_too(page: Page) -> None:
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=60)
    part = b"x" * 1_000_000
    try:
        connection.request(
            "POST", "/api/pictures", iter([part] * 60), {"transfer-encoding": "chunked"}, encode_chunked=True
        )
    except (BrokenPipeError, ConnectionResetError):
        return  # it has stopped listening
    answer = connection.getresponse()
    assert answer.status == 422
    assert b"more than 50 MB" in answer.read()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"3", b"[" * 5000, b'{"image": NaN}', b"\xff\xfe"]
)
def test_what_is_no_request_is_refused(page: Page, body: bytes) -> None:
    status, _, answer = ask(page, "/api/edits", "POST", body, content_type="application/json")
    assert status == 422
    assert set(json.loads(answer)) == {"error"}


def test_pictures_of_one_client_are_limited(client: PageClient, page: Page, png: Path) -> None:
    ids = [client.upload(png) for _ in range(40)]
    kept = [one["id"] for one in client.ask("GET", "/api/pictures")]
    assert kept == ids[-30:]
    assert len(page.files) < 40


def test_no_location_leaves_with_a_result(client: PageClient, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a secret camera"
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.jpg", exif=exif)
    (made,) = client.edit(tmp_path / "a.jpg", **QUICK)
    shown = client.raw("GET", f"/api/pictures/{made.about['image']}")
    for data in (made.data, shown):
        assert b"secret" not in data
        assert not Image.open(io.BytesIO(data)).getexif()


# What it says --------------------------------------------------------------------------------------------


def test_errors_hold_nothing_of_the_server(client: PageClient, page: Page, png: Path) -> None:
    for body in ({"image": client.upload(png), **QUICK, "settings": {"steps": 10**400}}, {"image": "x"}):
        with pytest.raises(InputError) as caught:
            client.wait(client.ask("POST", "/api/edits", body)["id"])
        assert str(page.folder) not in str(caught.value)
        assert "Traceback" not in str(caught.value)


def test_a_client_who_leaves_is_cancelled(serve: Serve, page: Page, png: Path) -> None:
    """Nobody watches the first request any more; the second one comes after it, and is made."""
    leaver, other = PageClient(page.url), PageClient(page.url)
    job = leaver.start(png, **QUICK | {"settings": {"steps": 50_000}})  # hours
    assert other.edit(png, **QUICK)
    assert leaver.state(job)["state"] == "cancelled"
    leaver.close()
    other.close()


def test_events_follow_a_request_to_its_end(client: PageClient, png: Path) -> None:
    job = client.start(png, **QUICK)
    told = client.raw("GET", f"/api/jobs/{job}/events").decode()
    states = [json.loads(line[6:])["state"] for line in told.splitlines() if line.startswith("data: ")]
    assert states[-1] == "done"
    assert threading.active_count() < 50
