from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data.download.server import Files, serving


@pytest.fixture
def server() -> Iterator[Files]:
    """A file server on 127.0.0.1."""
    with serving() as files:
        yield files
