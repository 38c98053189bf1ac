"""What is timed: the rows of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fgvc_cli.inference.exported import open_exported
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.run import RunSpec

EAGER, ENGINE = "eager, folded", "onnxruntime"


@dataclass(frozen=True)
class Case:
    """One row: a method for K classes, at its spec's image size, batch size and precision."""

    name: str
    spec: RunSpec
    classes: int
    asked: bool = True  # by the user; else it is only for comparison
    exported: Path | None = None  # a file of `fgvc export` in the place of the eager model
    stock: bool = False  # PyTorch's defaults: fp32, NCHW, nothing folded or compiled, a plain loop


def cases_of(specs: Sequence[RunSpec], classes: int, *, stock: bool = False) -> list[Case]:
    """The rows of methods with one backbone, image size, batch size and precision: the plain backbone first.

    If the plain backbone is among the methods, it is not repeated. `stock`: add it with PyTorch's defaults, in fp32.
    """
    plain = specs[0].model_copy(update={"method": BaselineSpec(pool="network")})
    asked = any(spec.method == plain.method for spec in specs)
    cases = [Case(plain.method.name if asked else f"{plain.backbone.name} alone", plain, classes, asked=asked)]
    if stock:
        stock_train = plain.train.model_copy(update={"precision": "fp32", "compile": False})
        stock_spec = plain.model_copy(update={"train": stock_train})
        cases.append(Case("stock PyTorch", stock_spec, classes, asked=False, stock=True))
    return cases + [Case(spec.method.name, spec, classes) for spec in specs if spec.method != plain.method]


def comparable(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """The specs, grouped by those that can share a plain backbone."""
    groups: dict[tuple[object, ...], list[RunSpec]] = {}
    for spec in specs:
        key = (spec.backbone.name, spec.data.side, spec.train.batch_size, spec.train.precision)
        groups.setdefault(key, []).append(spec)
    return list(groups.values())


def cases_of_export(file: Path, batch_size: int | None) -> list[Case]:
    """The eager model of the file's spec, with random weights, then the file.

    Args:
        file: of `fgvc export --format onnx`.
        batch_size: images of a step; None: 16. The file computes them in pieces, as in `fgvc predict`.

    Raises:
        BadRequest: it is no such file.
    """
    model = open_exported(file)
    size = batch_size or model.batch_size
    spec, classes = _in_fp32(model.spec, size), len(model.classes)
    name = ENGINE if model.precision == "fp32" else f"{ENGINE}, {model.precision}"
    return [Case(EAGER, spec, classes, asked=False), Case(name, spec, classes, exported=model.file)]


def _in_fp32(spec: RunSpec, size: int) -> RunSpec:
    changed = {"batch_size": size, "device": "cpu", "precision": "fp32", "compile": False}
    return spec.model_copy(update={"train": spec.train.model_copy(update=changed)})
