"""What `fgvc bench` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fgvc_cli.bench.rows import Measured, fastest, quantiles
from fgvc_cli.cli.tables import large, mib, percent, show
from fgvc_cli.streams import say
from fgvc_cli.terminal import new_table

if TYPE_CHECKING:
    import torch

    from fgvc_cli.bench.data import Found
    from fgvc_cli.bench.profiler import Operation

_WHAT = {"train": "training", "infer": "inference"}


def print_measured(measured: Measured, device: torch.device) -> None:
    """Print speed and memory of each way, then its parameters and multiply-adds."""
    first, infer = measured.rows[0], measured.what == "infer"
    rounds = max(len(row.rounds) for row in measured.rows)
    compiled = ", compiled" if first.compiled else ""
    say(
        f"{_WHAT[measured.what]} on {device}: {first.backbone}, {first.image_size}x{first.image_size} pixels, "
        f"batches of {first.batch_size}, {first.precision}{compiled}; {rounds} rounds of {measured.steps} steps"
    )
    _print_speed(measured, infer=infer)
    _print_counts(measured)
    for row in measured.rows:
        if row.trouble:
            say(f"{row.name}: {row.trouble}")
        elif row.files_share is not None:
            rate = _digits(row.batch_size / fastest(row.files))
            say(f"{row.name} from files: {rate} images/s, {row.files_share:.3f} of the rate on a fixed batch")
    say(*_notes(measured, device))
    disturbed = [row.name for row in measured.rows if (ratios := measured.ratios(row)) and ratios.disturbed]
    if disturbed:
        say(
            f"{', '.join(disturbed)}: the median of all steps gives a different time × plain: the machine was busy "
            "with other work; use more --rounds"
        )


def _print_speed(measured: Measured, *, infer: bool) -> None:
    numbers = ("images/s", "ms a step", "p10–p90", *(("one: p50", "p99") if infer else ()), "memory")
    table = new_table("way", *numbers, numbers=numbers)
    for row in measured.rows:
        if row.trouble:
            table.add_row(row.name, *("–" for _ in numbers))
            continue
        low, high = (1000 * value for value in quantiles(row.steps, 0.1, 0.9))
        single = [_digits(1000 * value) for value in quantiles(row.single, 0.5, 0.99)] if infer else []
        memory = "–" if row.peak_memory is None else mib(row.peak_memory)
        spread = f"{_digits(low)}–{_digits(high)}"
        table.add_row(row.name, _digits(row.rate), _digits(1000 * row.median), spread, *single, memory)
    show(table)


def _print_counts(measured: Measured) -> None:
    numbers = ("parameters", "multiply-adds", "× plain", "time × plain", "efficiency")
    table = new_table("way", *numbers, numbers=numbers)
    for row in measured.rows:
        ratios = measured.ratios(row)
        found = ("–",) * 3
        if ratios is not None:
            found = (f"{ratios.multiply_adds:.2f}", f"{ratios.time:.2f}", f"{ratios.efficiency:.2f}")
        table.add_row(row.name, large(row.parameters), large(row.multiply_adds), *found)
    show(table)


def _notes(measured: Measured, device: torch.device) -> list[str]:
    """What the columns mean."""
    lines = [
        f"plain: {measured.rows[0].name}; ms a step: median of all steps; time × plain: from the best round of each;",
        "multiply-adds: of one image; efficiency: multiply-adds × plain / time × plain",
    ]
    if measured.what == "infer":
        calls = max(len(row.single) for row in measured.rows)
        lines.append(f"one: latency of a single image in milliseconds, over {calls} calls")
    lines.append(_MEMORY.get(device.type, "memory: not known on this device"))
    return lines


_MEMORY = {
    "cuda": "memory: the peak of a step as PyTorch's allocator counts it, without what the other ways hold",
    "cpu": "memory: the peak of a step: the weights and what PyTorch's allocator has allocated",
}


def print_operations(name: str, what: str, operations: list[Operation], file: Path) -> None:
    """Print the operations with the most self time."""
    from fgvc_cli.bench.profiler import STEPS

    numbers = ("calls", "ms", "share")
    table = new_table("operation", *numbers, numbers=numbers)
    for operation in operations:
        cells = f"{operation.calls:,}", _digits(1000 * operation.seconds), percent(operation.share)
        table.add_row(operation.name, *cells)
    show(table, f"{name}, {_WHAT[what]}: the operations with the most self time in {STEPS} steps; trace: {file}")


def print_data(found: Found, what: str) -> None:
    """Print the images per second of each way to load them."""
    numbers = ("images/s", "times", "all rounds", "as float32", "times ")
    table = new_table("way", *numbers, numbers=numbers)
    first_loaded, first_ready = (next(iter(kind.values())).best for kind in (found.loaded, found.ready))
    for name, rates in found.loaded.items():
        ready = found.ready[name].best
        spread = f"{min(rates.rounds):,.0f} to {rates.best:,.0f}"
        ratios = f"{rates.best / first_loaded:.1f}", f"{ready / first_ready:.1f}"
        table.add_row(name, f"{rates.best:,.0f}", ratios[0], spread, f"{ready:,.0f}", ratios[1])
    workers = f"{found.workers} worker processes where a way uses them"
    show(table, f"{found.images} images, {what}, {workers}; the best round of each")
    say("as float32: also converted and normalised on the device; times: speed relative to the first way")


def _digits(value: float) -> str:
    """Three significant digits, and all digits before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
