"""Where the parts of a download say what they do; the command line shows it, tests and libraries may be silent."""

from __future__ import annotations


class Progress:
    """Hears of what goes on. This one is silent."""

    def say(self, line: str) -> None:
        """Something a user should know."""

    def advance(self, what: str, done: int, total: int | None, unit: str = "bytes") -> None:
        """`done` of `total` bytes or files of a piece of work that is called `what`; none: nobody knows how many."""


SILENT = Progress()


def amount(count: int) -> str:
    """Bytes in the unit of which there are at least one, in powers of 1000, as archives' sizes are told."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"
