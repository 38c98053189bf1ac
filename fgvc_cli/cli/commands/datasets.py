"""`fgvc datasets`: the datasets, their licences, and where they are on this machine."""

from __future__ import annotations

from fgvc_cli.cli import options


def datasets(data_dir: options.DataDir = None) -> None:
    """List the datasets, their licences, and where they are on this machine."""
    from fgvc_cli.cli.tables import show
    from fgvc_cli.data.catalog import locate
    from fgvc_cli.data.facts import CATALOG
    from fgvc_cli.terminal import new_table

    numbers = ("classes", "train", "test")
    table = new_table("dataset", "what", *numbers, "licence", "here", numbers=numbers)
    for name, facts in CATALOG.items():
        found = "built in" if name == "demo" else locate(name, data_dir)
        counts = [str(count) if count else "" for count in (facts.classes, facts.train, facts.test)]
        table.add_row(name, facts.title, *counts, facts.licence, str(found or "no"))
    show(table)
