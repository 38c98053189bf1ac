"""`fgvc datasets`: the datasets, their licences, and where they are on this machine."""

from __future__ import annotations

from fgvc_cli.cli import options


def datasets(data_dir: options.DataDir = None) -> None:
    """List the datasets, their licences, and where they are on this machine."""
    from fgvc_cli.api import catalog
    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    numbers = ("classes", "train", "test")
    table = new_table("dataset", "what", *numbers, "licence", "here", numbers=numbers)
    for name, dataset in catalog.datasets(data_dir).items():
        facts = dataset.facts
        counts = [str(count) if count else "" for count in (facts.classes, facts.train, facts.test)]
        here = "built in" if name == "demo" else str(dataset.folder or "no")
        table.add_row(name, facts.title, *counts, facts.licence, here)
    show(table)
