"""A small trained run, and servers of it in threads of this process, asked through real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3

from fgvc_cli.inference.look import Model, open_model
from fgvc_cli.predict.rules import Wishes
from fgvc_cli.progress import Reporter
from fgvc_cli.serve.limits import Limits
from fgvc_cli.serve.opening import open_site
from fgvc_cli.serve.site import Site
from fgvc_cli.serve.web.server import listening_socket, serve
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.browser import browser as browser
from tests.cli.conftest import command as command
from tests.conftest import small_spec

QUIET = Console(quiet=True)


@dataclass
class Client:
    """Asks one server."""

    address: str  # of the page, as printed
    site: Site
    headers: dict[str, str] = field(default_factory=dict)
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=32, retries=False, timeout=60)
    )

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        root = self.address.partition("?")[0].rstrip("/")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.pool.request(method, root + path, body=body, headers=self.headers | names, redirect=False)

    def send(self, content: bytes, name: str = "") -> tuple[int, dict[str, Any]]:
        """Status and JSON of an image that is sent."""
        given = self.ask("POST", f"/api/images?name={name}", content, content_type="application/octet-stream")
        return given.status, given.json()

    def json(self, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        body = None if value is None else json.dumps(value).encode()
        given = self.ask(method, path, body, content_type="application/json")
        return given.status, given.json() if given.data else None


@contextmanager
def serving(
    model: Model,
    folder: Path,
    limits: Limits | None = None,
    wishes: Wishes | None = None,
    neighbours: int = 2,
    host: str = "127.0.0.1",
    **more: Any,
) -> Iterator[Client]:
    """A server of a model while the context lasts; `folder` holds what it keeps and what is corrected."""
    kept = folder / "kept"
    kept.mkdir(parents=True)
    limits = limits or Limits()
    arguments = (wishes or Wishes(), None, neighbours, folder / "corrections", kept, limits, Reporter(QUIET))
    site = open_site(model, *arguments)
    stop, ready, where = threading.Event(), threading.Event(), list[str]()

    def tell(address: str) -> None:
        where.append(address)
        ready.set()

    listening = listening_socket(host, 0)
    thread = threading.Thread(target=serve, args=(site, listening, stop.is_set, tell), kwargs=more, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield Client(where[0], site)
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a validation split: leave it as it is."""
    path = tmp_path_factory.mktemp("runs") / "small"
    train(small_spec(photos, "baseline", "data.val_fraction=0.25", "train.epochs=4"), path, QUIET)
    return path


@pytest.fixture(scope="session")
def model(run: Path) -> Model:
    return open_model(run)


@pytest.fixture(scope="module")
def client(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server that several tests share."""
    with serving(model, tmp_path_factory.mktemp("served")) as client:
        yield client


@pytest.fixture
def photo(photos: Path) -> bytes:
    """A photo that the run was not trained on."""
    return (photos / "test/red/0.png").read_bytes()
