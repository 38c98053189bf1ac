"""`fgvc viz`: pictures of runs."""

from __future__ import annotations

import typer

from fgvc_cli.cli import viz_plots

viz = typer.Typer(help="Draw a run.", no_args_is_help=True)
viz.command("curves")(viz_plots.curves)
viz.command("confusion")(viz_plots.confusion)
viz.command("embedding")(viz_plots.embedding)
