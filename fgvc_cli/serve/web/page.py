"""The pages, in the look of the report. Names are escaped by the templates; what comes later is set as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fgvc_cli.data.images.names import EXTENSIONS
from fgvc_cli.report.page import rendered
from fgvc_cli.report.page import style as common_style
from fgvc_cli.serve.explainer import VERSUS
from fgvc_cli.serve.limits import LONGEST_NAME, MEGABYTE
from fgvc_cli.serve.site import Site

_PACKAGE = "fgvc_cli.serve"
_WORDS = {  # of kinds of pictures, on buttons; others are named as they are
    "cam": "heat map",
    "rois": "regions",
    "grid": "grid of cells",
    "parts": "parts",
    "relations": "relations of parts",
    "channels": "channels",
    "attention": "attention maps",
    "sequence": "sequence of parts",
}


@dataclass(frozen=True)
class Endpoint:
    """One endpoint, to read."""

    method: str
    path: str
    summary: str
    parameters: list[tuple[str, str]]
    answers: list[tuple[str, str]]


def front(site: Site) -> str:
    """The page of a server."""
    model, limits = site.model(), site.limits
    facts = {
        "kinds": [{"kind": kind, "words": _WORDS.get(kind, kind)} for kind in model.kinds if kind != VERSUS],
        "versus": VERSUS in model.kinds,
        "limits": {"bytes": limits.upload, "images": limits.kept, "name": LONGEST_NAME},
        "endings": sorted(EXTENSIONS),
    }
    about = {"corrections": site.corrections.file, "megabytes": limits.upload / MEGABYTE}
    return rendered("page.html", _PACKAGE, model=model, limits=limits, facts=facts, **about)


def endpoints(description: Mapping[str, Any]) -> str:
    """The endpoints of an OpenAPI description."""
    return rendered("endpoints.html", _PACKAGE, endpoints=list(_endpoints(description)))


def _endpoints(description: Mapping[str, Any]) -> Iterator[Endpoint]:
    for path, methods in description["paths"].items():
        for method, about in methods.items():
            given = [(one["name"], one.get("description", "")) for one in about.get("parameters", ())]
            answers = [(status, one["description"]) for status, one in about["responses"].items()]
            yield Endpoint(method.upper(), path, about["description"], given, answers)


@cache
def style_sheet() -> str:
    """The report's style, and what these pages add."""
    return common_style() + _template("page.css")


@cache
def script() -> str:
    """The page's script."""
    return _template("page.js")


def _template(name: str) -> str:
    return (files(_PACKAGE) / "templates" / name).read_text(encoding="utf-8")
