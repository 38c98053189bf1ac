"""The errors a user sees: one clear line that says what is wrong and what to do, and an exit code."""

from __future__ import annotations


class FgvcError(Exception):
    """The request was valid, but something failed. Each argument is printed as one line; exit code 1."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class BadRequest(FgvcError):
    """The request itself is wrong, for example a path, a name or a value. Nothing was started; exit code 2."""

    exit_code = 2
