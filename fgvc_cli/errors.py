"""The errors a user sees: one clear line that says what is wrong and what to do, and an exit code."""

from __future__ import annotations


class FgvcError(Exception):
    """Something failed although the request was sound. The message is the whole line; exit code 1."""

    exit_code = 1


class BadRequest(FgvcError):
    """The request itself is wrong: a path, a name, a value. Nothing was started; exit code 2."""

    exit_code = 2
