"""What there is: methods, presets, datasets with their downloads, suites that ship. Nothing here imports torch."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fgvc_cli.api.catalog.downloading import Dataset, datasets, download, verify
from fgvc_cli.api.specs import resolved_spec
from fgvc_cli.data.facts import classes_of
from fgvc_cli.spec.flags import sets_of
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.presets import PRESETS, load_preset
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.suite.plan import SuiteFile, open_suite, shipped
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    from fgvc_cli.methods.cost import Summary

__all__ = ["Costs", "Dataset", "Preset", "datasets", "download", "methods", "presets", "suites", "summary", "verify"]

_Path: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True)
class Preset:
    """The recipe for a method and a dataset."""

    name: str
    about: tuple[str, ...]  # lines: title, source, command, published accuracy

    @property
    def title(self) -> str:
        """In a line."""
        return self.about[0]

    @property
    def published(self) -> str:
        """The accuracy of the source."""
        start = "Published: "
        return next(line.removeprefix(start) for line in self.about if line.startswith(start))

    @property
    def spec(self) -> RunSpec:
        """Every setting."""
        return load_preset(self.name)


@dataclass(frozen=True)
class Costs:
    """What a method's network is made of."""

    spec: RunSpec
    classes: int
    counted: Summary  # parameters, multiply-adds of one image, and those of each module


def methods() -> dict[str, type[MethodSpec]]:
    """Method → its settings, with title and paper: `model_fields` has the default and the meaning of each."""
    return dict(METHOD_SPECS)


def presets() -> dict[str, Preset]:
    """Preset → what it is; `.spec` has every setting."""
    return {name: _preset(name) for name in PRESETS}


def _preset(name: str) -> Preset:
    return Preset(name, tuple((inspect.getdoc(PRESETS[name]) or "").split("\n")))


def suites() -> dict[str, SuiteFile]:
    """The suites that ship, for `run_suite`, by name: title, seeds, rows."""
    return {name: open_suite(name)[0] for name in shipped()}


def summary(
    *,
    method: str | None = None,
    dataset: str | None = None,
    preset: str | None = None,
    config: _Path | None = None,
    set: Sequence[str] | Mapping[str, Any] | None = None,
    classes: int | None = None,
    backbone: str | None = None,
    image_size: int | str | None = None,
    progress: bool = True,
) -> Costs:
    """Count a method's parameters and multiply-adds by module, as `fgvc summary` does; no weights are needed.

    Args:
        method: as for `train`, like those that follow.
        dataset: decides the number of classes.
        preset: in the place of the one for method and dataset.
        config: a run, or its run.json.
        set: fields of the spec, FIELD=VALUE, or field → value.
        classes: in the place of the dataset's.
        backbone: the network.
        image_size: side of the network's input in pixels.
        progress: show notes on stderr.

    Raises:
        BadRequest: a flag is wrong, or the method does not run at that size.
    """
    recipe = {
        "method": method,
        "dataset": dataset,
        "preset": preset,
        "config": None if config is None else Path(config),
    }
    network = {"backbone": backbone, "image_size": image_size, "sets": sets_of(set)}
    spec = resolved_spec(recipe | network, Console(stderr=True, quiet=not progress).note)
    number = classes_of(spec, classes)

    from fgvc_cli.methods.cost import summarize

    return Costs(spec, number, summarize(spec, number))
