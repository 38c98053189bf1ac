"""The server itself: its socket, whom it admits, how it runs and ends."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from fgvc_cli.errors import BadRequest
from fgvc_cli.serve.site import Site
from fgvc_cli.serve.web.app import create_app
from fgvc_cli.serve.web.guard import Guard

_SECONDS_TO_END = 5  # for the requests that are being answered when the server stops
_SECONDS_IDLE = 10  # of a connection after an answer
_SECONDS_SILENT = 20  # of a connection on which no request begins, or only a part of its header comes


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: any free one. BadRequest if that is not possible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise BadRequest(f"--host {host}: this machine has no such address") from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise BadRequest(_advice(error, host, port)) from None
    return found


def _advice(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: choose another with --port (0 takes a free one)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"--port {port}: this user may not listen there: choose one above 1023"
    return f"cannot listen on port {port} of {host}: {error.strerror or error}"


def serve(
    site: Site,
    listening: socket.socket,
    stopped: Callable[[], bool],
    ready: Callable[[str], None],
    *,
    names: Iterable[str] = (),
    token: str | None = None,
) -> None:
    """Serve until `stopped`; requests that are being answered then get a few seconds.

    Args:
        site: what answers.
        listening: the socket.
        stopped: whether to end, asked again and again.
        ready: called with the page's address when the server answers.
        names: by which browsers may call this machine, besides `localhost` and addresses.
        token: what clients must show; None: one is made, unless the server listens on this machine alone.
    """
    host, port = listening.getsockname()[:2]
    loopback = ipaddress.ip_address(host).is_loopback
    token = token or (None if loopback else secrets.token_urlsafe(18))
    own = () if loopback else (socket.gethostname().lower(), socket.getfqdn().lower())
    allowed = frozenset(name.lower() for name in (*names, *own))
    guard = Guard(create_app(site), loopback=loopback, names=allowed, token=token, port=port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    config = uvicorn.Config(
        guard,
        log_config=None,
        log_level="critical",  # the app tells of its errors itself
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=site.limits.connections,
        timeout_keep_alive=_SECONDS_IDLE,
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    try:
        _Server(config, stopped, lambda: ready(address)).run(sockets=[listening])
    finally:
        site.engine.close()


class _Server(uvicorn.Server):
    """Leaves signals to fgvc, and ends when it is asked to."""

    def __init__(self, config: uvicorn.Config, stopped: Callable[[], bool], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.stopped, self.ready = stopped, ready
        self._silent: dict[Any, tuple[object, float]] = {}  # connection → its last request, and since when

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def on_tick(self, counter: int) -> bool:
        self._hang_up()
        return self.stopped() or await super().on_tick(counter)

    def _hang_up(self) -> None:
        """Close connections that are held without a request: uvicorn has no limit for these."""
        now, before = time.monotonic(), self._silent
        self._silent = {}
        for connection in list(self.server_state.connections):
            last = getattr(connection, "cycle", None)
            if last is None or last.response_complete:
                found, since = before.get(connection, (None, now))
                self._silent[connection] = (last, since if found is last else now)
                if now - self._silent[connection][1] > _SECONDS_SILENT:
                    connection.transport.close()
