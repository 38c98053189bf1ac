"""Messages and progress of a download. The command line shows them; tests and libraries may ignore them."""

from __future__ import annotations


class Progress:
    """Receives messages and progress. This base class ignores them."""

    def say(self, line: str) -> None:
        """A message for the user."""

    def advance(self, what: str, done: int, total: int | None, unit: str = "bytes") -> None:
        """`done` of `total` bytes or files of the task `what` are finished; total None: unknown."""


SILENT = Progress()


def amount(count: int) -> str:
    """A number of bytes as text, in the largest unit that gives at least 1; units are powers of 1000."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"
