"""Read large JSON files like COCO's, an object of long lists, element by element in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import open_regular
from fgvc_cli.values import LENIENT

_CHUNK = 1 << 20  # characters
_LARGEST = 1 << 26  # characters that one element may have
_AFTER = ",:]} \t\n\r"  # what may come after a value
_SPACE = re.compile(r"[ \t\n\r]*")


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """(key, element) for each list element in a JSON object, in the file's order; (key, value) for other values.

    BadRequest for a file that is missing, cut off, or not a JSON object.
    """
    try:
        with TextIOWrapper(open_regular(path), "utf-8") as stream:
            yield from _Reader(stream).members()
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}); is the dataset unpacked completely?") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise BadRequest(f"{path}: is not a complete JSON file ({reason}); get it again") from None


class _Reader:
    """A JSON parser that holds a window of the text. ValueError if the text is not JSON."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.text = ""
        self.place = 0
        self.decoder = json.JSONDecoder()

    def members(self) -> Iterator[tuple[str, Any]]:
        """(key, element) for every list of the object; (key, value) for other values."""
        self.expect("{")
        while self.peek() != "}":
            key = self.value()
            self.expect(":")
            if self.peek() == "[":
                self.expect("[")
                while self.peek() != "]":
                    yield key, self.value()
                    self.separator("]")
                self.expect("]")
            else:
                yield key, self.value()
            self.separator("}")

    def separator(self, end: str) -> None:
        """A comma, unless the end comes next."""
        if self.peek() != end:
            self.expect(",")

    def peek(self) -> str:
        """The next character that is not white space; ValueError at the end of the text."""
        while True:
            space = _SPACE.match(self.text, self.place)
            self.place = space.end() if space else self.place
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                raise ValueError("it ends too early")

    def expect(self, mark: str) -> None:
        """Skip this character; ValueError for another one."""
        if self.peek() != mark:
            raise ValueError(f"{mark!r} expected, found {self.text[self.place : self.place + 20]!r}")
        self.place += 1

    def value(self) -> Any:
        """The next value. It is accepted only if the character after it is known: 1 may be the beginning of 12."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
                followed = end < len(self.text) and self.text[end] in _AFTER
            except json.JSONDecodeError:
                if not self.more():
                    raise
                continue
            except ValueError:  # a number of more digits than Python converts
                self.decoder = LENIENT
                continue
            if followed or not self.more():
                self.place = end
                return value

    def more(self) -> bool:
        """Read the next chunk and drop the used text. False at the end of the file, or if an element is too long."""
        if len(self.text) - self.place > _LARGEST:
            return False
        chunk = self.stream.read(max(_CHUNK, len(self.text) - self.place))
        if chunk:
            self.text, self.place = self.text[self.place :] + chunk, 0
        return bool(chunk)
