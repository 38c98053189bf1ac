"""Ctrl-C and termination signals: one line and exit code 130, whenever they come.

A pass that listens finishes its step, saves, and stops. Elsewhere the first signal raises KeyboardInterrupt, so that
temporary files are removed and worker processes ended; where raising it would do harm, and on a repeated signal, the
process ends at once.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from fgvc_cli.errors import FgvcError
from fgvc_cli.streams import tell

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

EXIT_CODE = 130  # the shells' exit code for Ctrl-C
LINE = "fgvc: interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_IMPORTING = "<frozen importlib._bootstrap>"


class Stopped(FgvcError):
    """Work was stopped on request and is saved. The exit code is a shell's for an interrupted command."""

    exit_code = EXIT_CODE


class Wish:
    """Whether the user asked the program to stop."""

    def __init__(self) -> None:
        self.stop = False


class _Handler:
    """What this process does on a signal."""

    def __init__(self) -> None:
        self.wish: Wish | None = None  # of the pass that listens
        self.raised = False  # whether KeyboardInterrupt was raised
        self.said = False  # whether LINE was printed
        self.code: int | None = None  # the exit code, once the command is done and only the process's end is left
        self.process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a worker process that was forked: it ends without a word
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.wish is not None and not self.wish.stop:
            self.wish.stop = True
        elif self.raised or self.code is not None or _importing(frame):
            self.leave()
        else:
            self.raised = True
            raise KeyboardInterrupt

    def leave(self) -> NoReturn:
        """End the process at once, without cleaning up."""
        with suppress(Exception):  # the stream may be closed, or be in the middle of a write
            sys.stdout.flush()
        with suppress(OSError):
            shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar may have hidden the cursor
            os.write(2, shown if self.said else shown + LINE.encode() + b"\n")
        os._exit(EXIT_CODE)

    def end(self) -> None:
        """End the process with its exit code, after every other exit function.

        The interpreter's own end frees what PyTorch made, which takes longer than many commands (docs/performance.md),
        and cannot be interrupted without a traceback.
        """
        if self.code is None or os.getpid() != self.process:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # what cannot be written was reported before
                stream.flush()
        os._exit(self.code)

    def unraisable(self, lost: UnraisableHookArgs) -> None:
        """KeyboardInterrupt inside a finalizer is dropped by Python, which prints a traceback instead."""
        if issubclass(lost.exc_type, KeyboardInterrupt):
            self.leave()
        sys.__unraisablehook__(lost)


_handler = _Handler()


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: libraries turn an interrupt there into other errors, or go on without it."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def obey() -> None:
    """Handle the signals from here on until the process ends."""
    _handler.process = os.getpid()
    for number in _SIGNALS:
        signal.signal(number, _handler)
    sys.unraisablehook = _handler.unraisable
    atexit.register(_handler.end)  # the first to register is the last to be called


def finish(code: int) -> None:
    """The command is done: from here on a signal ends the process at once, and its end is that of `_Handler.end`."""
    _handler.code = code


def leave() -> NoReturn:
    """End the process at once, with the line if it is not printed yet."""
    _handler.leave()


def raised() -> bool:
    """Whether a signal has raised KeyboardInterrupt in this process, whatever error has become of it."""
    return _handler.raised


def say() -> None:
    """Print the line of an interrupted command."""
    if not _handler.said:
        _handler.said = True
        tell(LINE)


@contextmanager
def listening() -> Iterator[Wish]:
    """Inside this context, the first SIGINT or SIGTERM only sets `stop`; a second one interrupts.

    In another thread than the main one, which alone gets signals, nothing listens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Wish()
        return
    wish, outer = Wish(), _handler.wish
    old = {number: signal.signal(number, _handler) for number in _SIGNALS}
    _handler.wish, _handler.process = wish, os.getpid()
    try:
        yield wish
    finally:
        _handler.wish = outer
        for number, handler in old.items():
            signal.signal(number, handler)
        _handler.raised = _handler.raised and _handler in old.values()  # the caller's own handler has the next word


@contextmanager
def held() -> Iterator[None]:
    """Inside this context the first signal waits for the end, so that no library turns it into another error.

    A pass that listens goes on listening.
    """
    if _handler.wish is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with listening() as wish:
        yield
    if wish.stop:
        _handler.raised = signal.getsignal(signal.SIGINT) is _handler
        raise KeyboardInterrupt
