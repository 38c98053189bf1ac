"""What `fgvc train --dry-run` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fgvc_cli.cli.tables import large, mib, show
from fgvc_cli.streams import say, say_json
from fgvc_cli.terminal import new_table

if TYPE_CHECKING:
    from fgvc_cli.spec.run import RunSpec
    from fgvc_cli.training.estimate import Estimate, Memory


def print_estimate(spec: RunSpec, found: Estimate) -> None:
    """Print the spec as JSON, then the estimated cost of its run."""
    say_json(spec.model_dump(mode="json"), indent=2)
    say("")
    table = new_table("what", "how much", "from")
    for row in _rows(spec, found):
        table.add_row(*row)
    show(table, f"dry run of {spec.method.name} on {spec.data.dataset}: nothing was trained, no run folder was created")
    free = found.memory.free
    if free is not None and found.memory.total > free:
        say(f"this may not fit: {mib(free)} are free; use a smaller --batch-size or --image-size")


def _rows(spec: RunSpec, found: Estimate) -> Iterator[tuple[str, str, str]]:
    counts, batches, epochs = found.counts, found.batches, spec.train.epochs
    steps = math.ceil(batches / spec.optim.accumulate)
    yield "classes", f"{len(found.classes):,}", _few(found.classes)
    for split, images in found.images.items():
        yield f"{split} images", f"{images:,}", ""
    if spec.embeds_once:
        yield from _features(found)
        return
    yield "batches per epoch", f"{batches:,}", f"of {found.batch} images"
    yield "steps", f"{steps * epochs:,}", f"{steps:,} per epoch, {epochs} epochs" + _at_most(spec)
    if spec.backbone.plain_epochs:
        yield "before that", f"{spec.backbone.plain_epochs} epochs", "of the plain network, not included below"
    yield "parameters", f"{counts.parameters:,}", f"{counts.trainable:,} of them trainable"
    yield "multiply-adds", large(counts.multiply_adds), "one image in evaluation"
    yield "memory of a step", f"about {mib(found.memory.total)}", _parts(found.memory)
    if found.cache is not None:
        yield f"cache ({spec.data.cache})", mib(found.cache), "training and validation images, stored once"
    yield "time of a batch", f"about {_seconds(found.time.batch)}", f"{found.time.basis}, on {found.device}"
    epoch = found.time.batch * batches
    yield "time of an epoch", f"about {_seconds(epoch)}", "batches only: reading images and evaluation are not included"
    yield "time of the run", f"about {_seconds(epoch * epochs)}", "as above"


def _features(found: Estimate) -> Iterator[tuple[str, str, str]]:
    """The rows of a run whose features are computed once."""
    images, counts = sum(found.images.values()), found.counts
    yield "parameters", f"{counts.parameters:,}", "the network is frozen"
    yield "multiply-adds", large(counts.multiply_adds), "one image in evaluation"
    yield (
        "features",
        f"{images:,} images",
        "computed once; those kept from earlier runs are not computed again",
    )
    seconds = found.time.batch / found.batch * images
    yield "time of the features", f"about {_seconds(seconds)}", f"{found.time.basis}, on {found.device}"


def _at_most(spec: RunSpec) -> str:
    return "" if spec.train.patience is None else " at most: it may stop early"


def _few(names: tuple[str, ...], most: int = 4) -> str:
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])


def _parts(memory: Memory) -> str:
    """The parts of the memory, largest first."""
    parts = {
        "activations": memory.activations,
        "weights": memory.weights,
        "moving average": memory.average,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
    }
    largest_first = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {mib(size)}" for name, size in largest_first if size) + "; scratch space not counted"


def _seconds(count: float) -> str:
    """A duration in the largest unit of which it has at least two."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if count >= 2 * length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.1f} s" if count >= 1 else f"{1000 * count:.0f} ms"
