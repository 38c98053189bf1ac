"""Where the processes of a suite run: on this machine, or as jobs of a cluster."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TypeVar

Watch = Callable[[], bool]  # called again and again while a process runs; true ends it
Item = TypeVar("Item")
Result = TypeVar("Result")
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    said: str = ""  # its last line

    @property
    def reason(self) -> str:
        """Why it failed."""
        return self.said or f"exit code {self.code}"


class Place(Protocol):
    """Runs commands, each in a process of its own."""

    @property
    def slots(self) -> int:
        """How many may run at once."""

    @property
    def stopped(self) -> bool:
        """Whether nothing is started any more."""

    def run(self, command: Sequence[str], log: Path, started: Callable[[str], object], watch: Watch) -> Ended | None:
        """Run one to its end, what it says added to `log`; None if the place was stopped before it began.

        `started` is told where it runs: `` or ` on GPU 1`.
        """

    def stop(self) -> None:
        """Start no more, and let those that run finish their step and save."""


class ThisMachine:
    """So many processes at once on this machine, or on each of several GPUs.

    Args:
        gpus: their numbers; empty if all processes see the same devices.
        at_once: processes on each. A run of a small network leaves most of a large GPU idle.
    """

    def __init__(self, gpus: Sequence[str] = (), at_once: int = 1) -> None:
        self._free: SimpleQueue[str] = SimpleQueue()
        for gpu in [*(gpus or ("",))] * at_once:
            self._free.put(gpu)
        self.slots = max(len(gpus), 1) * at_once
        self._stop = threading.Event()
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def stopped(self) -> bool:
        """Whether nothing is started any more."""
        return self._stop.is_set()

    def run(self, command: Sequence[str], log: Path, started: Callable[[str], object], watch: Watch) -> Ended | None:
        """As `Place.run`."""
        with self._gpu() as gpu:
            if self.stopped:
                return None
            started(f" on GPU {gpu}" if gpu else "")
            environment = os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stream:
                start = stream.tell()
                # In its own session: after a terminal's Ctrl-C our signal would be its second, which ends it at once.
                process = subprocess.Popen(
                    command, stdout=stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
                )
                self._running.append(process)
                code = _waited(process, watch)
                self._running.remove(process)
            return Ended(code, last_line(log, start))

    def stop(self) -> None:
        """As `Place.stop`."""
        self._stop.set()
        for process in list(self._running):  # each leaves the list as it ends
            process.terminate()

    @contextmanager
    def _gpu(self) -> Iterator[str]:
        gpu = self._free.get()
        try:
            yield gpu
        finally:
            self._free.put(gpu)


def _waited(process: subprocess.Popen[bytes], watch: Watch) -> int:
    while True:
        try:
            return process.wait(_SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            if watch():
                process.terminate()
                return process.wait()


def last_line(log: Path, start: int = 0) -> str:
    """The last line that a process has said, from byte `start` of its log on."""
    with log.open("rb") as stream:
        stream.seek(start)
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("fgvc: ") if lines else ""


def each(
    place: Place, items: Sequence[Item], work: Callable[[Item], Result], at_once: int | None = None
) -> list[Result]:
    """Do the work of each item, by default as many at once as the place runs. If interrupted, the place is stopped."""
    with ThreadPoolExecutor(at_once or place.slots) as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            place.stop()
            raise


def visible_gpus() -> list[str]:
    """The numbers of this machine's GPUs, by which processes are given one."""
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return listed.split(",")[:count] if listed else [str(number) for number in range(count)]
