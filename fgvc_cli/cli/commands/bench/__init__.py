"""`fgvc bench`: how fast things are on this machine."""

from __future__ import annotations

import typer

from fgvc_cli.cli.commands.bench import data, infer, methods, train

bench = typer.Typer(no_args_is_help=True, help="Measure how fast things are on this machine.")


@bench.callback()
def _group() -> None:
    """Measure how fast things are on this machine."""


bench.command("train")(train.train)
bench.command("infer")(infer.infer)
bench.command("methods")(methods.methods)
bench.command("data")(data.data)
