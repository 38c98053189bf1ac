"""`fgvc bench`: how fast things are on this machine."""

from __future__ import annotations

import os

import typer

from fgvc_cli.cli.commands.bench import data, infer, methods, train

bench = typer.Typer(no_args_is_help=True, help="Measure how fast things are on this machine.")


@bench.callback()
def _group() -> None:
    """Measure how fast things are on this machine."""
    # PyTorch reads these at import; without them, its profiler logs lines about itself that look like failures.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


bench.command("train")(train.train)
bench.command("infer")(infer.infer)
bench.command("methods")(methods.methods)
bench.command("data")(data.data)
