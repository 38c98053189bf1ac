"""What goes wrong with a request: one line for its sender, and a status."""

from __future__ import annotations

from fgvc_cli.errors import FgvcError

BAD, NO_TOKEN, FORBIDDEN, NOT_FOUND, SLOW, CONFLICT, TOO_LARGE, WRONG = 400, 401, 403, 404, 408, 409, 413, 422
BUSY, FAILED, LATE = 429, 500, 503


class Problem(FgvcError):
    """A request that is refused. The line says why, and names no path of this machine."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status
