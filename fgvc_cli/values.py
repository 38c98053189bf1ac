"""Values that a user hands over, as JSON or as text: a number that cannot be computed with is a ValueError."""

from __future__ import annotations

import json
import reprlib
from typing import Any

from fgvc_cli.errors import BadRequest

MOST_COVERAGE, LEAST_ROLLUP = 0.9999, 0.0001  # of prediction sets; of the probability of a taxon
_DIGITS = 18  # of a whole number: more may not fit into 64 bits, and Python converts at most 4,300
_LARGEST = 2.0**24  # of a coordinate: float32, in which boxes are kept, has every whole pixel up to here
_LONGEST = 60  # characters of a value in a message


def parse(text: str) -> Any:
    """The value of a JSON text. json.JSONDecodeError if it is none, ValueError if it is nested too deeply."""
    try:
        return LENIENT.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(digits: str) -> int | float:
    """An integer; one of over 18 digits becomes a float, which no field for whole numbers accepts."""
    return int(digits) if len(digits) <= _DIGITS else float(digits)


LENIENT = json.JSONDecoder(parse_int=_integer)


def brief(value: Any) -> str:
    """How a value looks in a message: at most 60 characters, however long or nested it is."""
    text = _BRIEF.repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 2 * _LONGEST


def coordinate(text: str) -> float:
    """A place in an image, in pixels. ValueError for text that is no number, or is infinite or beyond any image."""
    value = float(text)
    if not abs(value) <= _LARGEST:  # also refuses nan
        raise ValueError(f"{brief(text)} is not a place in an image")
    return value


def natural(text: str) -> int:
    """A number written in up to 18 digits. ValueError for anything else."""
    if not (text.isdecimal() and len(text) <= _DIGITS):
        raise ValueError(f"{brief(text)} is not a number of up to {_DIGITS} digits")
    return int(text)


def whole(value: object) -> int:
    """A number of a JSON or MATLAB file as an int that fits into 64 bits. ValueError for anything else."""
    try:
        number = None if isinstance(value, bool) else int(value)  # type: ignore[call-overload]  # an int or a NumPy number; others are refused here
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value or abs(number) >= 10**_DIGITS:
        raise ValueError(f"must be a whole number (got {brief(value)})")
    return int(number)


def check_share(value: float | None, flag: str, least: float = 0.0, most: float = 1.0) -> None:
    """BadRequest unless a flag's value is None or a share within limits, as the command line has them."""
    if value is not None and not least <= value <= most:
        raise BadRequest(f"--{flag} {value:g}: give a share from {least:g} to {most:g}")
