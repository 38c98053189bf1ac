"""Who may ask: hosts, origins, tokens; and the headers of every answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Model
from fgvc_cli.serve.web import server
from fgvc_cli.serve.web.guard import HEADERS, host_of
from fgvc_cli.serve.web.server import listening_socket
from tests.serve.conftest import Client, serving


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:1"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "evil.example:8000"}, 400),
        ({"host": "localhost.evil.example"}, 400),
        ({"host": "192.168.1.7"}, 400),
        ({"host": ""}, 400),
        ({"host": "[::1"}, 400),
        ({"host": "127.0.0.1", "origin": "http://127.0.0.1"}, 200),
        ({"host": "127.0.0.1", "origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
    ],
)
def test_hosts_and_origins(client: Client, headers: dict[str, str], status: int) -> None:
    given = client.ask("GET", "/api/model", **headers)
    assert given.status == status
    assert (status == 200) == ("error" not in given.json())


def test_every_answer_has_the_headers(client: Client) -> None:
    for method, path, headers in (
        ("GET", "/", {}),
        ("GET", "/page.js", {}),
        ("GET", "/nothing", {}),
        ("POST", "/api/images", {}),
        ("GET", "/", {"host": "evil.example"}),
    ):
        given = client.ask(method, path, **headers)
        assert {name: given.headers.get(name) for name in HEADERS} == HEADERS
        assert "access-control-allow-origin" not in given.headers
        assert "server" not in given.headers


def test_a_link_to_the_page_may_be_followed(client: Client) -> None:
    from_elsewhere = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert client.ask("GET", "/", **from_elsewhere).status == 200
    assert client.ask("POST", "/api/images", **from_elsewhere).status == 403


@pytest.fixture(scope="module")
def elsewhere(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server on all addresses of the machine."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with serving(model, folder, neighbours=0, host="0.0.0.0", names=["birds.example"]) as client:
        yield Client(client.address.replace("0.0.0.0", "127.0.0.1"), client.site)


def test_bound_elsewhere_it_asks_for_the_token(elsewhere: Client) -> None:
    token = elsewhere.address.partition("?token=")[2]
    assert len(token) >= 20
    for path, headers in (
        ("/", {}),
        ("/api/model", {}),
        ("/?token=x", {}),
        ("/api/model", {"authorization": "Bearer é".encode().decode("latin-1")}),
        ("/api/model", {"cookie": "fgvc-1=x; \x01"}),
        (f"/api/model?token={token}", {}),
    ):
        assert elsewhere.ask("GET", path, **headers).status == 401
    assert elsewhere.ask("GET", "/api/model", authorization=f"Bearer {token}").status == 200
    visit = elsewhere.ask("GET", f"/?token={token}")
    assert (visit.status, visit.headers["Location"]) == (303, "/")
    cookie = visit.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert elsewhere.ask("GET", "/", cookie=cookie.partition(";")[0]).status == 200


def test_bound_elsewhere_names_must_be_allowed(elsewhere: Client) -> None:
    elsewhere = Client(
        elsewhere.address, elsewhere.site, {"authorization": f"Bearer {elsewhere.address.partition('=')[2]}"}
    )
    assert elsewhere.ask("GET", "/api/model", host="192.168.1.7:80").status == 200
    assert elsewhere.ask("GET", "/api/model", host="Birds.example").status == 200
    assert elsewhere.ask("GET", "/api/model", host="evil.example").status == 400


def test_this_machine_alone_needs_no_token_unless_one_is_set(model: Model, tmp_path: Path) -> None:
    with serving(model, tmp_path, neighbours=0, token="secret") as client:
        assert client.ask("GET", "/").status == 401
        assert client.ask("GET", "/", authorization="Bearer secret").status == 200


def test_who_holds_a_connection_and_asks_nothing_is_hung_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = client.address.removeprefix("http://").rstrip("/").split(":")
    with (
        socket.create_connection((host, int(port)), 5) as silent,
        socket.create_connection((host, int(port)), 5) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHo")
        assert Client(client.address, client.site).ask("GET", "/api/model").status == 200
        with monkeypatch.context() as patch:  # a request within so short a time may be late, too, on a busy machine
            patch.setattr(server, "_SECONDS_SILENT", 0.3)
            assert (silent.recv(9), slow.recv(9)) == (b"", b"")
    assert Client(client.address, client.site).ask("GET", "/api/model").status == 200
    client.pool.clear()  # its idle connections were hung up, too


def test_hosts_are_read_as_browsers_write_them() -> None:
    written = ("LocalHost:80", "[::1]:80", "a@b", "x:y", "")
    assert [host_of(text) for text in written] == ["localhost", "::1", "b", "x", ""]


def test_where_nobody_can_listen() -> None:
    taken = listening_socket("127.0.0.1", 0)
    with taken, pytest.raises(BadRequest, match=r"port \d+ of 127.0.0.1 is in use: choose another with --port"):
        listening_socket("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(BadRequest, match="no such address"):
        listening_socket("no.such.host.invalid", 0)
    with pytest.raises(BadRequest, match="cannot listen"):
        listening_socket("203.0.113.1", 0)
