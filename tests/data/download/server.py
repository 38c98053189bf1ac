"""A file server on 127.0.0.1 that can be told to misbehave, request by request."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fgvc_cli.data.download.archives import Archive


@dataclass
class Asked:
    """A request as it came, and how many bytes of a body went out."""

    path: str
    range: str | None
    if_range: str | None
    encoding: str | None
    sent: int = 0


@dataclass
class Files:
    """What is served, what was asked, and what the next requests get instead of a sound answer."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault | None] = field(default_factory=list)
    url: str = ""

    def archive(self, file: str, body: bytes, *, holds: str = "x", **more: object) -> Archive:
        """Serve `body` under this name, and the catalog's entry for it."""
        self.bodies[f"/{file}"] = body
        known = {"urls": (f"{self.url}/{file}",), "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        return Archive(file, (holds,), **(known | more))

    @property
    def sent(self) -> int:
        """Bytes of bodies in all."""
        return sum(asked.sent for asked in self.asked)


Fault = Callable[["Handler", bytes], None]  # gets the sound body, or the part that was asked for


class Handler(BaseHTTPRequestHandler):
    """Ranges, If-Range and strong tags as the standard has them; faults before all."""

    files: Files

    def do_GET(self) -> None:
        asked = Asked(self.path, self.headers["Range"], self.headers["If-Range"], self.headers["Accept-Encoding"])
        self.files.asked.append(asked)
        self.asked = asked
        fault = self.files.faults.pop(0) if self.files.faults else None
        body = self.files.bodies.get(self.path)
        with contextlib.suppress(OSError):
            if fault is not None:
                fault(self, body or b"")
            elif body is None:
                self.send_error(404)
            else:
                self.serve(body)

    def serve(self, body: bytes, *, ranges: bool = True, length: int | None = None) -> None:
        """The body, or what of it was asked for, under the true or another length."""
        start = self.start(body) if ranges else 0
        if start >= len(body) > 0:
            self.head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            return
        self.begin(body, start, length)
        self.write(body[start:])

    def begin(self, body: bytes, start: int, length: int | None = None) -> None:
        """The head of an answer whose body starts there."""
        more = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        size = len(body) - start if length is None else length
        self.head(206 if start else 200, {"Content-Length": str(size), "ETag": self.tag(body)} | more)

    def start(self, body: bytes) -> int:
        """The first byte that was asked for, 0 if the tag is no longer this body's."""
        if self.asked.range is None or self.asked.if_range not in (None, self.tag(body)):
            return 0
        return int(self.asked.range.removeprefix("bytes=").removesuffix("-"))

    def tag(self, body: bytes) -> str:
        return f'"{hashlib.md5(body).hexdigest()}"'

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def write(self, data: bytes, step: int = 1 << 14) -> None:
        for place in range(0, len(data), step):
            self.asked.sent += len(data[place : place + step])  # before the other side has it and a test looks
            self.wfile.write(data[place : place + step])

    def log_message(self, *words: object) -> None:
        pass


def cut(after: int) -> Fault:
    """Close the connection after so many bytes of the body."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.start(body)
        handler.begin(body, start)
        handler.write(body[start : start + after])
        handler.connection.shutdown(socket.SHUT_RDWR)

    return fault


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """A status with headers (`_` for `-`) and a body, whatever was asked."""

    def fault(handler: Handler, _: bytes) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.head(status, {"Content-Length": str(len(body))} | named)
        handler.write(body)

    return fault


def no_ranges(handler: Handler, body: bytes) -> None:
    """All of it, whatever was asked."""
    handler.serve(body, ranges=False)


def length(count: int) -> Fault:
    """A Content-Length that is not the body's."""
    return lambda handler, body: handler.serve(body, length=count)


def trickle(pause: float, seconds: float) -> Fault:
    """Single bytes with pauses between them, then silence until the other side leaves."""

    def fault(handler: Handler, body: bytes) -> None:
        start = handler.start(body)
        handler.begin(body, start)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            handler.write(body[start : start + 1])
            start += 1
            time.sleep(pause)
        handler.connection.settimeout(5)
        handler.connection.recv(1)

    return fault


def slowly(rate: int) -> Fault:
    """Bytes a second, in twenty steps a second."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.begin(body, 0)
        step = rate // 20
        for place in range(0, len(body), step):
            handler.write(body[place : place + step])
            time.sleep(0.05)

    return fault


@contextlib.contextmanager
def serving() -> Iterator[Files]:
    """A server for the time of a test."""
    files = Files()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"files": files}))
    server.daemon_threads = True
    files.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
