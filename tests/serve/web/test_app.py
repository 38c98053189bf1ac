"""The server as programs see it, through sockets: answers, limits, hostile requests, and its own description."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from openapi_spec_validator import validate
from PIL import Image

from fgvc_cli.inference.look import Model
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.predict.answers import Answer, predict
from fgvc_cli.predict.rules import Wishes
from fgvc_cli.serve.engine import Work
from fgvc_cli.serve.limits import Limits
from tests.serve.conftest import Client, serving


def drawn(seed: int, side: int = 40) -> bytes:
    """A PNG of noise."""
    pixels = np.random.RandomState(seed).randint(0, 255, (side, side, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def huge_png() -> bytes:
    """A small file that claims 40000 x 40000 pixels."""
    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_an_answer_is_that_of_predict(client: Client, model: Model, photos: Path, photo: bytes) -> None:
    status, given = client.send(photo, "../../etc/<b>.png")
    assert status == 200
    [[row]] = predict(model, find_pictures([str(photos / "test/red/0.png")]), rules=client.site.explainer.rules)
    assert isinstance(row, Answer)
    assert given["answer"] == row.text
    assert [guess["class"] for guess in given["top"]] == [guess.name for guess in row.top]
    shares = [guess["probability"] for guess in given["top"]]
    assert shares == pytest.approx([guess.probability for guess in row.top], abs=1e-5)
    assert given["uncertainty"] == pytest.approx(1 - (shares[0] - shares[1]), abs=1e-5)
    assert given["name"] == "../../etc/<b>.png"
    assert (given["width"], given["height"]) == (36, 40)
    assert given["known"]["known"] in (True, False)
    assert len(given["neighbours"]) == 2
    kept = client.site.uploads.folder
    assert all(file.parent == kept and file.name.startswith(given["id"]) for file in kept.iterdir() if file.is_file())
    near = client.ask("GET", f"/api/training/{given['neighbours'][0]['training']}/thumbnail")
    assert Image.open(io.BytesIO(near.data)).format == "WEBP"


def test_the_least_certain_answer_comes_first(client: Client) -> None:
    for seed in range(5):
        assert client.send(drawn(seed))[0] == 200
    _, given = client.json("GET", "/api/images")
    doubts = [one["uncertainty"] for one in given]
    assert len(doubts) >= 5
    assert doubts == sorted(doubts, reverse=True)


def test_why_in_every_kind_and_against_every_class(client: Client, photo: bytes) -> None:
    id = client.send(photo)[1]["id"]
    _, about = client.json("GET", "/api/model")
    assert about["kinds"][0] == "versus"
    for kind in about["kinds"]:
        given = client.ask("GET", f"/api/images/{id}/why/{kind}")
        assert Image.open(io.BytesIO(given.data)).format == "PNG"
    versus = f"/api/images/{id}/why/versus"
    pictures = {client.ask("GET", f"{versus}?class=red&against={name}").data for name in ("blue", "green")}
    assert len(pictures) == 2
    told = client.json("GET", f"{versus}?against=graen")
    assert told == (422, {"error": "class graen: no such class; near: 'green', 'red'"})
    assert client.json("GET", f"{versus}?class=red&against=red")[0] == 409
    assert client.json("GET", f"/api/images/{id}/why/rois")[0] == 404


def test_corrections_are_recorded_and_taken_back(client: Client) -> None:
    id = client.send(drawn(77), "a.png")[1]["id"]
    assert client.json("POST", "/api/retrain")[0] == 409
    status, given = client.json("PUT", f"/api/images/{id}/correction", {"class": "Green"})
    assert (status, given["class"]) == (200, "green")
    assert client.json("GET", f"/api/images/{id}")[1]["correction"]["class"] == "green"
    assert client.json("PUT", f"/api/images/{id}/correction", {"class": None})[1]["class"] is None
    assert "'-," in client.site.corrections.file.read_text()
    status, told = client.json("POST", "/api/retrain")
    assert (status, told["left_out"]) == (200, 1)
    assert told["command"].startswith("fgvc train --config ")
    assert client.json("PUT", f"/api/images/{id}/correction", {"class": "mauve"})[0] == 422
    assert client.json("PUT", f"/api/images/{id}/correction", {"label": "red"})[0] == 422
    assert client.ask("DELETE", f"/api/images/{id}/correction").status == 204
    assert client.json("DELETE", f"/api/images/{id}/correction")[0] == 404
    assert client.json("GET", "/api/corrections")[1] == []


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 422, "the image file is empty"),
        (b"nothing" * 99, 422, "the file is not a readable image (unknown format or damaged)"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            422,
            "the file is not a readable image (unknown format or damaged)",
        ),
        (drawn(1)[:900], 422, "the file is not a readable image (image file is truncated)"),
        (huge_png(), 413, "the image has 40000 x 40000 pixels, over the limit of 60000000"),
        (b"\0" * 26_000_000, 413, "the file is over the limit of 25 MB"),
    ],
    ids=["empty", "no image", "postscript", "truncated", "giant", "heavy"],
)
def test_hostile_files_are_one_line_and_the_server_goes_on(
    client: Client, photo: bytes, content: bytes, status: int, said: str
) -> None:
    before = set(client.site.uploads.folder.iterdir())
    given = client.send(content)
    assert given == (status, {"error": said})
    assert set(client.site.uploads.folder.iterdir()) == before
    assert client.send(photo)[0] == 200


def test_a_body_without_a_length_is_bounded_too(model: Model, tmp_path: Path) -> None:
    with serving(model, tmp_path, Limits(upload=10_000), neighbours=0) as client:
        given = client.ask("POST", "/api/images", (b"x" * 1000 for _ in range(15)))
        assert given.json() == {"error": "the file is over the limit of 0.01 MB"}
        assert client.send(drawn(1, 20))[0] == 200


def test_too_many_at_once_are_told_to_wait_and_none_is_lost(model: Model, tmp_path: Path) -> None:
    with serving(model, tmp_path, Limits(waiting=2, kept=5), neighbours=0) as client:

        def send(seed: int) -> int:
            while True:
                given = client.ask("POST", "/api/images", drawn(seed))
                if given.status != 429:
                    return given.status
                refused.append(given.headers["Retry-After"])

        refused: list[str] = []
        with client.site.engine.place(), client.site.engine.place():
            assert client.ask("POST", "/api/images", drawn(1)).status == 429
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(send, range(40))) == [200] * 40
        assert set(refused) <= {"1"}
        assert len(client.json("GET", "/api/images")[1]) == 5
        assert len(list(client.site.uploads.folder.iterdir())) == 5


def test_nothing_is_left_of_what_fails(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(model, tmp_path, Limits(seconds=0.3), neighbours=0) as client:
        go_on = threading.Event()
        broken = Work(lambda uploads: go_on.wait(5) and 1 / 0)
        monkeypatch.setitem(vars(client.site.explainer), "answering", broken)
        assert client.send(drawn(1))[0] == 503
        go_on.set()
        assert client.send(drawn(2))[0] == 500
        assert list(client.site.uploads.folder.iterdir()) == []


def test_a_slow_sender_is_given_up(model: Model, tmp_path: Path) -> None:
    with serving(model, tmp_path, Limits(seconds=0.3, waiting=1), neighbours=0) as client:
        host, port = client.address.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), 5) as slow:
            slow.sendall(f"POST /api/images HTTP/1.1\r\nHost: {host}\r\nContent-Length: 900\r\n\r\nabc".encode())
            assert b" 408 " in slow.recv(4096)
        assert client.send(drawn(1))[0] == 200


def test_answers_that_are_unsure(model: Model, tmp_path: Path) -> None:
    with serving(model, tmp_path, wishes=Wishes(min_confidence=1.0), neighbours=0) as client:
        given = client.send(drawn(1))[1]
        assert given["unsure"] or given["answer"] == "unknown"
        assert client.json("GET", "/api/model")[1]["unsure_below"] == 1


def test_its_own_description_is_valid_and_complete(client: Client) -> None:
    given = client.ask("GET", "/openapi.json")
    description = given.json()
    validate(description)
    assert description["openapi"].startswith("3.1")
    assert set(description["paths"]["/api/images"]) == {"get", "post"}
    for methods in description["paths"].values():
        for about in methods.values():
            for status, answer in about["responses"].items():
                if status.startswith(("4", "5")):
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ProblemView")
    page = client.ask("GET", "/api").data.decode()
    assert all(path in page for path in description["paths"])
    assert "http://" not in page.replace(client.address, "")
    assert "https://" not in page


def test_what_is_not_there(client: Client) -> None:
    missing = "0" * 32
    for path in (
        "/nothing",
        "/docs",
        "/api/images/..%2f..%2fetc",
        "/api/training/999/thumbnail",
        f"/api/images/{missing}",
    ):
        status, told = client.json("GET", path)
        assert status in (404, 422)
        assert set(told) == {"error"}
    for path in (f"/api/images/{missing}/thumbnail", "/api/training/-1/thumbnail"):
        assert client.json("GET", path)[0] == 404
    assert client.json("POST", "/api/images?name=" + "x" * 301)[0] == 422
    assert client.json("PATCH", "/api/images")[0] == 405


def test_a_fault_is_one_line_on_both_sides(
    client: Client, photo: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    id = client.send(photo)[1]["id"]

    def broken(*arguments: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(client.site.uploads, "get", broken)
    status, told = client.json("GET", f"/api/images/{id}")
    assert (status, told) == (500, {"error": "this failed; the server's terminal shows why"})
    for _ in range(5):
        assert client.json("GET", "/api/model")[0] == 200  # on the same connection
    assert capsys.readouterr().err == f"fgvc: GET /api/images/{id}: ValueError: two lines\n"


def test_the_page_escapes_names(client: Client) -> None:
    client.site.notes.append("<script>")
    page = client.ask("GET", "/").data.decode()
    client.site.notes.remove("<script>")
    assert "&lt;script&gt;" in page
    assert json.loads(page.partition('id="facts">')[2].partition("<")[0])["versus"] is True
