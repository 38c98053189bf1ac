"""What several test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.errors import BadRequest
from tests.data.small_archives import spec_of, write_lines


def refused(dataset: str, root: Path, **values: object) -> str:
    """The one line that refuses this data."""
    with pytest.raises(BadRequest) as caught:
        load_index(spec_of(dataset, root, **values))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_lines(path: Path, number: int, *lines: str) -> None:
    """Put these lines in the place of line `number`, counted from 1."""
    old = path.read_text().splitlines()
    write_lines(path, *old[: number - 1], *lines, *old[number:])
