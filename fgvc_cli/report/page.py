"""The report page: one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fgvc_cli import __version__
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded, make_parent, write_text
from fgvc_cli.inference.new_photos import named
from fgvc_cli.inference.request import EvalRequest, with_request
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.report import chart
from fgvc_cli.report.gallery import make_gallery
from fgvc_cli.report.matrix import LONGEST_NAME
from fgvc_cli.report.record import names_of, read_record
from fgvc_cli.report.view import RunView, comparison, run_view
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console

REPORT = "report.html"


@dataclass(frozen=True)
class Written:
    """A written report."""

    file: Path
    size: int  # bytes
    notices: list[str]


def write_report(
    runs: Sequence[RunFolder], out: Path | None, request: EvalRequest, console: Console, *, sample: int, force: bool
) -> Written:
    """Write the report of one run, or of several runs side by side.

    Args:
        runs: at least one.
        out: the file. None: report.html in the run's folder, or eval/NAME-report.html for new photos.
        request: the split or new photos, and the device.
        console: for progress.
        sample: pictures of each run's gallery, 0 for none.
        force: overwrite an existing file.

    Raises:
        BadRequest: the file already exists, or there are several runs and no `out`.
        FgvcError: a run cannot be read, or the file cannot be written.
    """
    file = _target(runs, out, request, force)
    for run in runs:
        _check(run, request)
    views = []
    for number, (run, name) in enumerate(zip(runs, names_of([run.path for run in runs]), strict=True), 1):
        record = read_record(run, name, request, console)
        gallery = make_gallery(record, request, sample, console)
        views.append(run_view(number, record, gallery, labels=file.parent == run.path))
    text = render(views)
    if out is not None:
        make_parent(file)
    write_text(file, text)
    notices = [f"{view.record.name}: {notice}" for view in views for notice in view.record.notices]
    return Written(file, file.stat().st_size, notices)


def _target(runs: Sequence[RunFolder], out: Path | None, request: EvalRequest, force: bool) -> Path:
    if out is None and len(runs) > 1:
        raise BadRequest(f"a report of several runs needs a file name, for example -o {REPORT}")
    file = _usual(runs[0], request) if out is None else expanded(out)
    if file.is_dir():
        raise BadRequest(f"{file} is a folder: name the file, for example -o {file / REPORT}")
    if file.exists() and not force:
        raise BadRequest(f"{file} already exists: --force overwrites it, -o names another file")
    return file


def _usual(run: RunFolder, request: EvalRequest) -> Path:
    images = named(run, request)
    own = images.new is None
    return run.path / REPORT if own else run.evaluation_file(images.name).with_name(f"{images.name}-{REPORT}")


def _check(run: RunFolder, request: EvalRequest) -> None:
    """BadRequest if the request cannot be met. The run's own device is not checked: this machine may lack it."""
    spec = with_request(run.spec(), request)
    if request.device is not None:
        prepare_device(spec.train)


def render(views: list[RunView]) -> str:
    """The HTML of some runs."""
    script = (_templates() / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return rendered(
        "page.html",
        views=views,
        comparison=comparison(views) if len(views) > 1 else None,
        script=script,
        script_hash=f"sha256-{digest}",
        chart_size=chart,
        longest_name=LONGEST_NAME,
    )


def rendered(template: str, package: str = "fgvc_cli.report", **values: Any) -> str:
    """The HTML of a template in a package's folder. Names, paths and messages are escaped."""
    loader = PackageLoader(package)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"percent": percent}
    made = f"{datetime.now():%Y-%m-%d %H:%M}"
    return page.get_template(template).render(made=made, version=__version__, style=style(), **values)


def style() -> str:
    """The style sheet of all pages."""
    return (_templates() / "style.css").read_text(encoding="utf-8")


def _templates() -> Traversable:
    return files("fgvc_cli.report") / "templates"


def percent(share: float | None) -> str:
    """A fraction in per cent with one decimal; a dash if it is unknown."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"
