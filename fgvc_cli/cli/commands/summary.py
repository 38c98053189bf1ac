"""`fgvc summary`."""

from __future__ import annotations

from fgvc_cli.cli import options
from fgvc_cli.streams import say


def summary(
    method: options.Method = None,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    classes: options.Classes = None,
    backbone: options.Backbone = None,
    image_size: options.ImageSize = None,
) -> None:
    """Count a method's parameters by module, and its multiply-adds for one image in evaluation."""
    from fgvc_cli.api.catalog import summary

    costs = summary(
        method=method,
        dataset=dataset,
        preset=preset,
        config=config,
        set=sets,
        classes=classes,
        backbone=backbone,
        image_size=image_size,
    )

    from fgvc_cli.cli.tables import show
    from fgvc_cli.terminal import new_table

    spec, counted = costs.spec, costs.counted
    size = spec.data.side
    title = f"{spec.method.name}, {spec.backbone.name}, {costs.classes} classes, {size}x{size} pixels"
    numbers = ("parameters", "multiply-adds")
    table = new_table("module", "kind", *numbers, numbers=numbers)
    for module in counted.modules:
        table.add_row(module.name, module.kind, f"{module.parameters:,}", _giga(module.multiply_adds))
    table.add_section()
    table.add_row("total", "", f"{counted.parameters:,}", _giga(counted.multiply_adds), style="bold")
    show(table, title)
    if counted.trainable != counted.parameters:
        say(f"trainable: {counted.trainable:,}")


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e7 else f"{count / 1e6:.2f} M"
