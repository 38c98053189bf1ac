"""A tracker that writes what it is told into the file of the variable FAKE_TRACKER, and fails where FAKE_FAILS says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgvc_cli.runs.tracking.trackers import Outcome, Start, Started, Tracker


class Fake(Tracker):
    """It keeps a line for each message."""

    def _note(self, what: str, *given: Any) -> None:
        if os.environ.get("FAKE_FAILS") == what:
            raise ConnectionError("no route\nto the tracker")
        if os.environ.get("FAKE_HANGS") == what:
            time.sleep(600)
        with Path(os.environ["FAKE_TRACKER"]).open("a") as file:
            file.write(json.dumps([what, *given]) + "\n")

    def start(self, start: Start) -> Started:
        self._note("start", start.known, dict(start.params))
        return Started(start.known or "its-own-id", "a place")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._note("scalars", dict(values), step)

    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        assert all(file.read_bytes().startswith(b"\x89PNG") for file in files.values())
        self._note("pictures", sorted(files), step)

    def finish(self, outcome: Outcome) -> None:
        self._note("finish", outcome)
