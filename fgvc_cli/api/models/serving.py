"""A model as a page in the browser."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.machine import interrupt
from fgvc_cli.machine.imports import quick_imports
from fgvc_cli.progress import Reporter
from fgvc_cli.spec.flags import checked_flags
from fgvc_cli.values import LEAST_ROLLUP, MOST_COVERAGE, check_share

if TYPE_CHECKING:
    from fgvc_cli.inference.look import Model
    from fgvc_cli.serve.limits import Limits

_Path: TypeAlias = str | os.PathLike[str]
_TOKEN = "FGVC_TOKEN"  # the variable that holds one
_NEEDED = ("fastapi", "uvicorn")
_BOUNDS = {  # flag → least and most
    "port": (0, 65535),
    "neighbours": (0, 100_000),
    "max_megabytes": (0.01, 1000),
    "max_megapixels": (0.01, 1000),
    "queue": (1, 1000),
    "timeout": (1, 3600),
    "keep": (1, 100_000),
}


class ServeFlags(TypedDict, total=False):
    """The flags of `fgvc serve`, which says what they are; None: not given."""

    host: str
    port: int  # 0: any free one
    allow_host: list[str] | None
    corrections: _Path | None
    neighbours: int
    min_confidence: float
    target_precision: float | None
    unknown: bool | None
    rollup: float | None
    taxonomy: _Path | None
    set_coverage: float | None
    max_megabytes: float
    max_megapixels: float
    queue: int
    timeout: float
    keep: int


def serve(
    opened: Callable[[], Model],
    flags: Mapping[str, Any],
    ready: Callable[[str], None],
    reporter: Reporter,
    stop: threading.Event | None = None,
) -> Path | None:
    """See `Model.serve`.

    Args:
        opened: gives the model, once the address is free.
        flags: those of `ServeFlags`.
        ready: called with the page's address when the server answers.
        reporter: shows what takes time, and notes.
        stop: ends the server when it is set, as Ctrl-C does.
    """
    found = checked_flags(flags, ServeFlags.__annotations__, "serve")
    _check(found)
    with quick_imports():
        from fgvc_cli.predict.rules import Wishes
        from fgvc_cli.serve.opening import open_site
        from fgvc_cli.serve.web.server import listening_socket
        from fgvc_cli.serve.web.server import serve as serve_site

    listening = listening_socket(found.get("host", "127.0.0.1"), found.get("port", 8000))
    model = opened()
    names = ("min_confidence", "target_precision", "set_coverage", "rollup", "taxonomy")
    wishes = Wishes(**{name: found[name] for name in names if name in found})
    corrections = None if found.get("corrections") is None else expanded(found["corrections"])
    unknown, neighbours = found.get("unknown"), found.get("neighbours", 3)
    limits = _limits(found, model.request.batch_size)
    with tempfile.TemporaryDirectory(prefix="fgvc-serve-") as folder:
        site = open_site(model, wishes, unknown, neighbours, corrections, Path(folder), limits, reporter)
        with interrupt.listening() as wish:
            token = os.environ.get(_TOKEN) or None
            stopped = (lambda: wish.stop) if stop is None else (lambda: wish.stop or stop.is_set())
            serve_site(site, listening, stopped, ready, names=found.get("allow_host") or (), token=token)
    return site.corrections.file if site.corrections.file.exists() else None


def _check(flags: Mapping[str, Any]) -> None:
    """BadRequest for a value out of range, or a missing package, which names the extra."""
    for name, (least, most) in _BOUNDS.items():
        value = flags.get(name)
        if value is not None and not least <= value <= most:
            raise BadRequest(f"--{name.replace('_', '-')} {value}: give a number from {least} to {most}")
    check_share(flags.get("min_confidence"), "min-confidence")
    check_share(flags.get("target_precision"), "target-precision")
    check_share(flags.get("set_coverage"), "set-coverage", most=MOST_COVERAGE)
    check_share(flags.get("rollup"), "rollup", least=LEAST_ROLLUP)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadRequest(f"fgvc serve needs {' and '.join(missing)}: pip install 'fgvc[serve]'")


def _limits(flags: Mapping[str, Any], together: int | None) -> Limits:
    from fgvc_cli.serve.limits import MEGABYTE, Limits

    return Limits(
        upload=round(flags.get("max_megabytes", 25) * MEGABYTE),
        pixels=round(flags.get("max_megapixels", 60) * 1e6),
        waiting=flags.get("queue", 32),
        seconds=flags.get("timeout", 60),
        kept=flags.get("keep", 500),
        **({"together": together} if together else {}),
    )
