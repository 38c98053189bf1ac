"""`fgvc presets`: the recipes for each method and dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.streams import say, say_json

_CHOSEN = (
    "fgvc reports the last epoch or, with a validation split, the best epoch on that split. A published number that is "
    "the best epoch on the test set, as the authors' code reports it, was selected on the images it is measured on."
)

presets = typer.Typer(help="List the presets: the recipes for each method and dataset.", invoke_without_command=True)


@presets.callback()
def list_presets(context: typer.Context) -> None:
    """List the presets; `fgvc presets show NAME` prints one in full."""
    if context.invoked_subcommand is not None:
        return
    from fgvc_cli.api import catalog
    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    table = new_table("preset", "what", "published")
    for name, preset in catalog.presets().items():
        table.add_row(name, preset.title, preset.published)
    show(table)
    say(_CHOSEN)


@presets.command("show")
def show_preset(name: Annotated[str, typer.Argument(help="A preset's name.")]) -> None:
    """Print a preset: its source, its command, and every field as JSON."""
    from fgvc_cli.api import catalog
    from fgvc_cli.spec.presets import load_preset

    spec = load_preset(name)  # a name that is none is a BadRequest
    say(*catalog.presets()[name].about, _CHOSEN)
    say_json(spec.model_dump(mode="json"), indent=2)
