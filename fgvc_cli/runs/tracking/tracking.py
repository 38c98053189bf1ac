"""A run's own end of its tracker: messages to a process that talks to the tracker.

The run never waits for the tracker: messages go into a queue, from which a thread writes them to the process. If that
fails or hangs, or the queue is full, what it should have sent is lost; the run says so in one line and goes on. Only at
its end does it wait, for a bounded time.
"""

from __future__ import annotations

import json
import os
import queue
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgvc_cli.errors import FgvcError
from fgvc_cli.files import read_text
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import TrackerRecord, read_file
from fgvc_cli.runs.tracking.trackers import TRACKERS, Outcome
from fgvc_cli.spec.run import RunSpec

PATIENCE = 60.0  # seconds that the end of a run waits for its tracker
_WAITING = 10_000  # messages
_END = None
_HOMES = ("runs", "suites")
_ODD = re.compile(r"[^A-Za-z0-9_-]+")  # what not every tracker takes in an id


class Tracking:
    """A run in a tracker, which is started by the first message.

    Args:
        run: the run's folder, which keeps the id and what the tracker prints.
        spec: names the tracker, and is sent to it.
        tell: called, by the thread that calls, with what the user should know.
    """

    def __init__(self, run: RunFolder, spec: RunSpec, tell: Callable[[str], object]) -> None:
        assert spec.train.track is not None
        self.run, self.spec, self.tell = run, spec, tell
        self.name = spec.train.track
        self._process: subprocess.Popen[bytes] | None = None
        self._queue: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._lost = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Name → value at an optimizer step."""
        self._put("scalars", dict(values), step)

    def pictures(self, files: Mapping[str, Path], step: int) -> None:
        """Name → PNG file."""
        self._put("pictures", {name: str(file.absolute()) for name, file in files.items()}, step)

    def close(self, outcome: Outcome) -> None:
        """Say how the run ended, and wait for the tracker, at most PATIENCE seconds. Nothing if no message was sent."""
        if self._process is None:
            return
        self._put("finish", outcome)
        with suppress(queue.Full):
            self._queue.put_nowait(_END)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._lose(f"did not end within {PATIENCE:.0f} s")
            return
        if code != 0:
            self._lose(self._reason())
        elif not self._lost:
            self.tell(f"{self.name}: {self._kept('where')}")

    # ---- messages

    def _put(self, what: str, *given: Any) -> None:
        if self._lost:
            return
        if self._process is None and not self._start():
            return
        assert self._process is not None
        if self._process.poll() is not None:
            self._lose(self._reason())
            return
        try:
            self._queue.put_nowait(json.dumps([what, *given]).encode() + b"\n")
        except queue.Full:
            self._lose(f"does not keep up: {_WAITING} messages wait")

    def _send(self) -> None:
        """Write messages to the process as it takes them; in a thread of its own."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # the process is gone, which the next message or the end finds
            while (message := self._queue.get()) is not None:
                self._process.stdin.write(message)
                self._process.stdin.flush()
            self._process.stdin.close()

    def _start(self) -> bool:
        kind = TRACKERS[self.name]
        command = [sys.executable, "-m", "fgvc_cli.runs.tracking.child", kind.tracker, str(self.run.tracker(self.name))]
        environment = {**os.environ, "GIT_PYTHON_REFRESH": "quiet"}  # MLflow's library warns where there is no git
        try:
            with self.run.tracker_log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the run, which ends this process
                )
        except OSError as error:
            self._lose(error.strerror or str(error))
            return False
        self._thread.start()
        name = name_of(self.run.path)
        about = {"name": name, "id": f"{_ODD.sub('-', name)[:60]}-{secrets.token_hex(4)}", "known": self._kept("id")}
        self._put("start", {**about, "params": flat(self.spec.model_dump(mode="json"))})
        return True

    # ---- what became of it

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self.tell(f"note: {self.name} {why}; the run goes on without it ({self.run.tracker_log})")

    def _reason(self) -> str:
        """The last line that the process printed."""
        try:
            lines = read_text(self.run.tracker_log, errors="replace").split("\n")
        except OSError:
            lines = []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"failed: {last[:300]}" if last else "failed"

    def _kept(self, what: str) -> str | None:
        """What the tracker said of the run before; None if it does not know it."""
        file = self.run.tracker(self.name)
        try:
            found: dict[str, str] = read_file(file, TrackerRecord) if file.exists() else {}
        except FgvcError as error:
            self.tell(f"note: {error}; {self.name} begins a new run")
            found = {}
        return found.get(what)


def name_of(run: Path) -> str:
    """A run's name: its folder's, after those of the folders around it that are not where all runs are.

    So the runs of a suite, suites/NAME/ROW/seed-0, have different names.
    """
    home, path = Path.cwd().resolve(), run.resolve()
    parts = path.relative_to(home).parts if path.is_relative_to(home) else path.parts[-1:]
    return "-".join(parts[1:] if parts[0] in _HOMES and len(parts) > 1 else parts)


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The fields of a spec by their names with dots: {"train": {"seed": 0}} → {"train.seed": 0}."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found
