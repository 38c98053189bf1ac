"""Ctrl-C and termination signals: the current step is finished and saved before the program stops."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fgvc_cli.errors import FgvcError


class Stopped(FgvcError):
    """Training stopped on request and its state is saved. The exit code is a shell's for an interrupted command."""

    exit_code = 130


class Wish:
    """Whether the user asked the program to stop."""

    def __init__(self) -> None:
        self.stop = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.stop:  # the second signal stops at once
            raise KeyboardInterrupt
        self.stop = True


@contextmanager
def listening() -> Iterator[Wish]:
    """Inside this context, the first SIGINT or SIGTERM only sets `stop`; a second one interrupts."""
    wish = Wish()
    old = {number: signal.signal(number, wish._ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
