"""`fgvc bench`: how fast things are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fgvc_cli.cli import options

if TYPE_CHECKING:
    from fgvc_cli.bench.data import Found

bench = typer.Typer(no_args_is_help=True, help="Measure how fast things are on this machine.")


@bench.callback()
def _group() -> None:
    """Measure how fast things are on this machine."""


@bench.command("data")
def data(
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    image_size: options.ImageSize = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    data_dir: options.DataDir = None,
    workers: options.Workers = None,
    images: Annotated[int, typer.Option(min=2, help="Use so many images.")] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="Measure every way so many times, in turns.")] = 8,
) -> None:
    """Images a second of each way to load training images, beside the usual one.

    Without a dataset: photographs of 500 x 400 pixels that are drawn for it, resized to 512 and cropped to 448.
    """
    from rich.console import Console

    flags = {key: value for key, value in locals().items() if key not in ("Console", "images", "rounds")}
    named = any(flags[key] is not None for key in ("dataset", "preset", "config"))
    drawn = () if named else ("data.image_size=448", "data.resize=512")
    spec = options.spec_of({**flags, "sets": [*drawn, *(sets or ())]})

    from fgvc_cli.bench.data import Setting, measure
    from fgvc_cli.data.datasets import load_index
    from fgvc_cli.data.splits import apply_spec
    from fgvc_cli.engine.device import prepare_device
    from fgvc_cli.engine.evaluate import looking

    console = Console(stderr=True)
    found_device = prepare_device(spec.train)
    index = apply_spec(load_index(spec.data, progress=looking(console)), spec.data) if named else None
    setting = Setting(spec.data, spec.train.batch_size, found_device, rounds, images, workers)
    found = measure(setting, index, looking(console))
    _print(found, f"{spec.data.resize_side} → {spec.data.image_size} pixels, batches of {setting.batch_size}")


def _print(found: Found, what: str) -> None:
    from fgvc_cli.cli.tables import new_table, say, show

    numbers = ("images/s", "times", "all rounds", "as float32", "times ")
    table = new_table("way", *numbers, numbers=numbers)
    first_loaded, first_ready = (next(iter(kind.values())).best for kind in (found.loaded, found.ready))
    for name, rates in found.loaded.items():
        ready = found.ready[name].best
        spread = f"{min(rates.rounds):,.0f} to {rates.best:,.0f}"
        ratios = f"{rates.best / first_loaded:.1f}", f"{ready / first_ready:.1f}"
        table.add_row(name, f"{rates.best:,.0f}", ratios[0], spread, f"{ready:,.0f}", ratios[1])
    show(
        table, f"{found.images} images, {what}, {found.workers} processes where a way uses any; the best round of each"
    )
    say("as float32: also converted and normalised on the device; times: as fast as the first way")
