"""Flags that the commands of suites share."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.errors import BadRequest

Rows = Annotated[str | None, typer.Option(help="Only these rows, names between commas.")]
OneByOne = Annotated[bool, typer.Option("--one-by-one", help="One run at a time, also where there are several GPUs.")]
AtOnce = Annotated[
    int,
    typer.Option(min=1, help="Runs at once on each GPU, or on this machine: small networks leave a large GPU idle."),
]
Slurm = Annotated[
    bool,
    typer.Option("--slurm", help="As jobs of a Slurm cluster, with the settings of the file's table [slurm]."),
]


def names(text: str | None) -> list[str] | None:
    """The words between commas."""
    return None if text is None else [word.strip() for word in text.split(",")]


def numbers(text: str | None) -> list[int] | None:
    """The whole numbers between commas."""
    words = names(text)
    if words is None:
        return None
    if not all(word.isdecimal() for word in words):
        raise BadRequest(f"--seeds {text}: give whole numbers between commas")
    return [int(word) for word in words]
