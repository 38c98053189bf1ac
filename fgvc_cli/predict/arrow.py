"""Parquet files, written in pieces by pyarrow, which is imported only here."""

from __future__ import annotations

from typing import Any

from fgvc_cli.errors import BadRequest


def arrow(others: str) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. BadRequest if the package is missing.

    Args:
        others: the endings of files that need no package.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadRequest(f"writing .parquet needs pyarrow: pip install 'fgvc[parquet]', or choose {others}") from None
    return pyarrow, pyarrow.parquet


def arrow_text(text: str) -> str:
    """A text that Parquet can hold: bytes of a file's name that are no UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
