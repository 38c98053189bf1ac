"""A model with all that the server needs of its run, found before the first request."""

from __future__ import annotations

from pathlib import Path

from fgvc_cli.files import expanded
from fgvc_cli.inference.look import Model
from fgvc_cli.predict.rules import Wishes
from fgvc_cli.progress import Reporter
from fgvc_cli.serve.corrections import Corrections
from fgvc_cli.serve.engine import Engine
from fgvc_cli.serve.explainer import Explainer, usual_gallery, usual_rules
from fgvc_cli.serve.limits import Limits
from fgvc_cli.serve.site import Site
from fgvc_cli.serve.uploads import Uploads


def open_site(
    model: Model,
    wishes: Wishes,
    unknown: bool | None,
    neighbours: int,
    corrections: Path | None,
    folder: Path,
    limits: Limits,
    reporter: Reporter,
) -> Site:
    """A server's state.

    Args:
        model: what answers.
        wishes: when an answer is unsure or a taxon.
        unknown: whether images of unknown classes are told; None: if the run can.
        neighbours: number of training images to show beside an answer.
        corrections: the folder of corrections; None: in the run's folder, or `corrections` here if there is none.
        folder: an empty one, for the images that clients send.
        limits: its bounds.
        reporter: shows what takes time, and notes.

    Raises:
        BadRequest: the run cannot do what is wished.
        FgvcError: the corrections that are there cannot be read.
    """
    reporter.line(f"{model.name}: {model.spec.method.name}, {len(model.classes)} classes, on {model.device}")
    kept = Corrections(_home(model) if corrections is None else expanded(corrections))
    kept.read()
    rules, cannot = usual_rules(model, wishes, unknown, reporter)
    gallery, lacks = usual_gallery(model, neighbours, reporter)
    for note in (*cannot, *lacks):
        reporter.line(f"note: {note}")
    explainer = Explainer(model, rules, limits, gallery, neighbours)
    engine = Engine(limits.waiting, limits.seconds)
    return Site(explainer, engine, Uploads(folder, limits), kept, [*cannot, *lacks])


def _home(model: Model) -> Path:
    return Path("corrections") if model.run is None else model.run.corrections
