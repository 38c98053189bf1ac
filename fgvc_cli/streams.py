"""What is printed: any text on one line, on any stream, whatever it can show and whether or not anybody reads it.

Everything that fgvc prints goes through this module or through the console of `terminal`, which uses it.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, TextIO

from fgvc_cli.errors import FgvcError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Control characters, line and paragraph separators, characters that reverse the order of others, and lone surrogates,
# with which Python represents bytes of file names that are not UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BYTES = range(0xDC80, 0xDD00)  # the surrogates that stand for the bytes 0x80 to 0xFF
_PLAIN = {"≥": ">=", "≤": "<=", "×": "x", "·": ".", "–": "-", "—": "-", "…": "...", "→": "->", "−": "-", "✓": "yes"}
_GREEK = "GREEK SMALL LETTER "
PROSE, DATA = "fgvc-prose", "fgvc-data"  # how a stream replaces the characters that its encoding lacks


class ReaderGone(BrokenPipeError):
    """Nobody reads stdout any more, as in `fgvc runs | head -1`. It has no errno, else Typer would end the program."""

    exit_code = 141  # the shells' exit code for a program that is ended by a closed pipe


def visible(text: str) -> str:
    r"""The text with an escape for each character that would change the terminal or the line: `\x1b`, `\n`, `\xe9`."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def _escape(char: str) -> str:
    return f"\\x{ord(char) - 0xDC00:02x}" if ord(char) in _BYTES else ascii(char)[1:-1]


def visible_lines(text: str) -> str:
    """`visible` of each line of a text."""
    return "\n".join(map(visible, text.split("\n")))


def say(*lines: str) -> None:
    """Print lines on stdout."""
    _print(sys.stdout, lines)


def tell(*lines: str) -> None:
    """Print lines on stderr: what is not the command's result."""
    _print(sys.stderr, lines)


def say_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON on stdout."""
    text = as_json(value, indent)
    encoding = sys.stdout.encoding or "utf-8"
    with explained_output():
        print(text.encode(encoding, DATA).decode(encoding))


def as_json(value: Any, indent: int | None = None) -> str:
    r"""JSON in which every character that `visible` escapes is a `\u` escape, so that it means the same."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _print(stream: TextIO, lines: tuple[str, ...]) -> None:
    with explained_output():
        print("\n".join(map(visible, lines)), file=stream, flush=True)


@contextmanager
def explained_output() -> Iterator[None]:
    """Turn a failed write to stdout into one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FgvcError(f"cannot write to stdout: {error.strerror or error}") from error


# ---- characters that a stream's encoding lacks


def _prose(error: UnicodeError) -> tuple[str, int]:
    text, end = _lacking(error)
    return "".join(_PLAIN.get(char) or _greek(char) or _escape(char) for char in text), end


def _data(error: UnicodeError) -> tuple[str, int]:
    r"""Only the escapes of JSON: `\uXXXX`, two of them for a character above U+FFFF."""
    text, end = _lacking(error)
    return "".join(json.dumps(char)[1:-1] for char in text), end


def _lacking(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return error.object[error.start : error.end], error.end


def _greek(char: str) -> str:
    name = unicodedata.name(char, "")
    return name.removeprefix(_GREEK).lower() if name.startswith(_GREEK) else ""


codecs.register_error(PROSE, _prose)
codecs.register_error(DATA, _data)


# ---- streams that are closed, or that nobody reads


class _Raw(io.RawIOBase):
    """Writes to the raw stream under stdout or stderr.

    If its reader is gone, what is written is dropped: silently if `optional`, else after raising ReaderGone once.
    Other failures, such as a full disk or a terminal that was closed, are dropped too if `optional`.
    """

    def __init__(self, stream: TextIO, raw: io.RawIOBase, *, optional: bool) -> None:
        self.stream = stream  # which would close `raw` when it is deleted
        self.raw, self.optional, self.gone = raw, optional, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.raw.fileno()

    def isatty(self) -> bool:
        return self.raw.isatty()

    def write(self, data: ReadableBuffer, /) -> int | None:
        size = memoryview(data).nbytes
        if self.gone:
            return size
        try:
            return self.raw.write(data)
        except BrokenPipeError:
            self.gone = True
            if not self.optional:
                raise ReaderGone from None
        except OSError:
            if not self.optional:
                self.gone = True
                raise
        return size


@contextmanager
def prepared() -> Iterator[None]:
    """Inside this context stdin, stdout and stderr can be used whatever the program was started with.

    A closed one is /dev/null. Characters that the encoding lacks are replaced. Only a failure to write to stdout is an
    error, and only once.
    """
    _open_closed()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout, sys.stderr = _survivor(sys.stdout, 1, optional=False), _survivor(sys.stderr, 2, optional=True)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def keep_going() -> None:
    """From here on the loss of stdout's reader is no error: the work is more than what is printed about it."""
    raw = _raw(sys.stdout)
    if isinstance(raw, _Raw):
        raw.optional = True


def _raw(stream: TextIO) -> object:
    """The unbuffered stream under a text stream; with PYTHONUNBUFFERED there is nothing between them."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _open_closed() -> None:
    """Open /dev/null as each of the first three descriptors that is closed, else the next file would be it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _survivor(stream: TextIO | None, number: int, *, optional: bool) -> TextIO:
    if stream is None:
        stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    raw = _raw(stream)
    if not isinstance(raw, io.RawIOBase) or isinstance(raw, _Raw):
        return stream  # a test's or a notebook's own stream
    stream.flush()
    at_once = bool(getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False))
    buffer: IO[bytes] = io.BufferedWriter(_Raw(stream, raw, optional=optional))
    return io.TextIOWrapper(buffer, stream.encoding, PROSE, line_buffering=at_once or optional)
