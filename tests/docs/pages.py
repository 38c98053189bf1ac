"""The Markdown that users read, and what is in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    line: int  # of its first line of code
    language: str
    code: str


def blocks(page: Path, language: str) -> list[Block]:
    """The fenced blocks of a page in a language, in order."""
    text = page.read_text(encoding="utf-8")
    found = [Block(page, text.count("\n", 0, one.start(3)) + 1, one[2], one[3]) for one in _FENCE.finditer(text)]
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def typed(code: str) -> Iterator[list[str]]:
    """The simple commands of a piece of shell, as words; variables of loops have their first value."""
    for name, values in re.findall(r"for (\w+) in ([^;\n]+)", code):
        code = code.replace(f"${name}", values.split()[0])
    for line in code.replace("\\\n", " ").split("\n"):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set(";|&()"):
                yield words
                words = []
            elif word != "do":
                words.append(word)
        yield words


def arguments(words: list[str]) -> list[str] | None:
    """What `fgvc` is given by a simple command; None if it is another command."""
    if words[:1] == ["fgvc"]:
        return [
            word for place, word in enumerate(words) if place and not (word == "…" and place in (2, len(words) - 1))
        ]
    where = next((i for i, word in enumerate(words) if word == "fgvc_cli" and words[i - 1] == "-m"), None)
    return None if where is None else words[where + 1 :]
