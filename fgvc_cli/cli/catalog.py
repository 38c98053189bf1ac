"""`fgvc presets`, `fgvc methods`, `fgvc datasets`: what there is."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from fgvc_cli.cli import options

_CHOSEN = (
    "fgvc reports the last epoch or, with a validation split, the best on that. Where a published number is the best "
    "epoch on the test set, as the authors' code reports it, it was chosen on the images it is measured on."
)

presets = typer.Typer(help="Recipes: what a method and a dataset start from.", invoke_without_command=True)


@presets.callback()
def list_presets(context: typer.Context) -> None:
    """List the recipes; `fgvc presets show NAME` prints one whole."""
    if context.invoked_subcommand is not None:
        return
    from fgvc_cli.cli.tables import new_table, show
    from fgvc_cli.spec.presets import PRESETS

    table = new_table("preset", "what", "published")
    for name, preset in PRESETS.items():
        lines = inspect.getdoc(preset).splitlines()  # type: ignore[union-attr]
        published = next(line.removeprefix("Published: ") for line in lines if line.startswith("Published: "))
        table.add_row(name, lines[0], published)
    show(table)
    typer.echo(_CHOSEN)


@presets.command("show")
def show_preset(name: Annotated[str, typer.Argument(help="A preset's name.")]) -> None:
    """Print a recipe: where it is from, its command, and every field as JSON."""
    from fgvc_cli.spec.presets import PRESETS, load_preset

    spec = load_preset(name)
    typer.echo(f"{inspect.getdoc(PRESETS[name])}\n{_CHOSEN}")
    typer.echo(spec.model_dump_json(indent=2))


def methods(name: Annotated[str | None, typer.Argument(help="A method's name: show its settings.")] = None) -> None:
    """List the methods; `fgvc methods NAME` lists a method's settings."""
    from fgvc_cli.cli.tables import new_table, show
    from fgvc_cli.spec.methods import METHOD_SPECS, method_spec

    if name is None:
        table = new_table("method", "what", "paper", "settings", numbers=("settings",))
        for method, about in METHOD_SPECS.items():
            table.add_row(method, about.title, about.paper, str(len(about.model_fields) - 1))
        show(table)
        return
    spec = method_spec(name)
    typer.echo(f"{spec.title}\n{spec.paper}")
    table = new_table("setting", "default", "meaning")
    for key, field in spec.model_fields.items():
        if key != "name":
            table.add_row(f"method.{key}", str(field.default), field.description)
    if len(spec.model_fields) > 1:
        show(table)


def datasets(data_dir: options.DataDir = None) -> None:
    """List the datasets, their licences, and which of them are here."""
    from fgvc_cli.cli.tables import new_table, show
    from fgvc_cli.data.catalog import locate
    from fgvc_cli.data.facts import CATALOG

    numbers = ("classes", "train", "test")
    table = new_table("dataset", "what", *numbers, "licence", "here", numbers=numbers)
    for name, facts in CATALOG.items():
        found = "built in" if name == "demo" else locate(name, data_dir)
        counts = [str(count) if count else "" for count in (facts.classes, facts.train, facts.test)]
        table.add_row(name, facts.title, *counts, facts.licence, str(found or "no"))
    show(table)
