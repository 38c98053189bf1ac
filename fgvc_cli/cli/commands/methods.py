"""`fgvc methods`: the methods, and the settings of one."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_cli.streams import say


def methods(name: Annotated[str | None, typer.Argument(help="A method's name: show its settings.")] = None) -> None:
    """List the methods; `fgvc methods NAME` lists a method's settings."""
    from fgvc_cli.api import catalog
    from fgvc_cli.cli.tables import show
    from fgvc_cli.spec.methods import method_spec
    from fgvc_cli.terminal import new_table

    if name is None:
        table = new_table("method", "what", "paper", "settings", numbers=("settings",))
        for method, about in catalog.methods().items():
            table.add_row(method, about.title, about.paper, str(len(about.model_fields) - 1))
        show(table)
        return
    spec = method_spec(name)
    say(spec.title, spec.paper)
    table = new_table("setting", "default", "meaning")
    for key, field in spec.model_fields.items():
        if key != "name":
            table.add_row(f"method.{key}", str(field.default), field.description)
    if len(spec.model_fields) > 1:
        show(table)
