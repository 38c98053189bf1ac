"""What the benchmarks share: flags, measuring, printing, writing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.cli import options
from fgvc_cli.streams import say_json

if TYPE_CHECKING:
    import torch

    from fgvc_cli.bench.measure import Plan
    from fgvc_cli.bench.profiler import Operation
    from fgvc_cli.bench.rows import Measured
    from fgvc_cli.bench.ways import Case, Way, What
    from fgvc_cli.data.types import DatasetIndex
    from fgvc_cli.spec.run import RunSpec
    from fgvc_cli.terminal import Console


MEASURE = "What is measured"


Rounds = Annotated[int, typer.Option(min=1, help="Measure every way this many times, in turn.")]
Steps = Annotated[
    int | None,
    options.flag("Steps of each way in a round. Default: as many as time allows, at most 20.", MEASURE, min=1),
]
Stock = Annotated[
    bool,
    options.flag("Also measure the plain backbone with PyTorch's defaults: fp32, NCHW, eager.", MEASURE, "--stock"),
]
Trace = Annotated[
    Path | None,
    options.flag(
        "Write a profiler trace of a few steps into this folder; print the slowest operations.", MEASURE, "--profile"
    ),
]
Json = Annotated[
    Path | None,
    options.flag("Write all results to this file as JSON; - prints them instead of the tables.", MEASURE, "--json"),
]
FromFiles = Annotated[
    bool,
    options.flag(
        "Also measure training on images from files, read by the run's own data loader.", MEASURE, "--from-files"
    ),
]


def named(flags: dict[str, Any]) -> bool:
    """Whether the user named a dataset, by --dataset, --preset or --config."""
    return any(flags.get(key) is not None for key in ("dataset", "preset", "config"))


def index_of(spec: RunSpec, console: Console) -> DatasetIndex:
    """The index of the spec's dataset, with the spec's splits."""
    from fgvc_cli.data.datasets import load_index
    from fgvc_cli.data.splits import apply_spec
    from fgvc_cli.progress import progress_of

    return apply_spec(load_index(spec.data, progress=progress_of(console)), spec.data)


class Bench:
    """What train, infer and methods have in common: measure, print, write."""

    def __init__(self, what: str, flags: dict[str, Any], *specs: RunSpec) -> None:
        from fgvc_cli.terminal import Console

        self.what, self.flags, self.specs = what, flags, specs
        self.console = Console(stderr=True)
        self.classes = options.classes_of(specs[0], flags["classes"])
        for path, folder in ((flags["json"], False), (flags["profile"], True)):
            if path is not None:
                check_writable(path, folder=folder)
        self.found: list[dict[str, Any]] = []
        self.short: list[str] = []  # what did not fit into memory

    def run(self, kinds: Sequence[What], groups: Sequence[list[Case]] | None = None) -> None:
        """Measure everything and print each table as soon as it is complete.

        Args:
            kinds: what is measured.
            groups: the cases that are compared with each other; None: the methods, each beside its plain backbone.
        """
        from fgvc_cli.bench.ways import cases_of, comparable
        from fgvc_cli.errors import FgvcError
        from fgvc_cli.machine.compiling import check_compiler
        from fgvc_cli.machine.device import prepare_device

        device = prepare_device(self.specs[0].train)
        if self.specs[0].train.compile:
            check_compiler(device)
        stock = self.flags["stock"]
        made = groups or [cases_of(specs, self.classes, stock=stock) for specs in comparable(self.specs)]
        for cases in made:
            for kind in kinds:
                self._compare(cases, kind, device)
                self._write(device, whole=False)
        self._write(device, whole=True)
        if self.short:
            advice = "use a smaller --batch-size or --image-size, or --precision bf16"
            raise FgvcError(f"out of memory: {', '.join(self.short)}; {advice}")

    def _compare(self, cases: list[Case], kind: What, device: torch.device) -> None:
        from fgvc_cli.bench.measure import Plan, measure
        from fgvc_cli.cli.bench_tables import print_measured, print_operations
        from fgvc_cli.progress import progress_of

        plan = Plan(self.flags["rounds"], self.flags["steps"])
        slowest: dict[str, list[Operation]] = {}
        told = progress_of(self.console, "")
        with self._feeds(cases, kind, device, plan) as feeds:
            visit = self._visit(slowest, kind, device)
            measured = measure(cases, kind, device, plan, told, feeds, visit)
        self.found.append(self._as_json(measured, slowest))
        self.short += [f"{row.name} ({kind})" for row in measured.rows if row.trouble]
        if self.flags["json"] != Path("-"):
            print_measured(measured, device)
            for name, operations in slowest.items():
                print_operations(name, kind, operations, self._trace_file(name, kind))

    def _feeds(self, cases: list[Case], kind: What, device: torch.device, plan: Plan) -> Any:
        """A context with the data loaders if training from files is measured, else an empty one."""
        if kind != "train" or not self.flags["from_files"]:
            return nullcontext()
        from fgvc_cli.bench.feed import opened_feeds
        from fgvc_cli.bench.measure import MOST_STEPS
        from fgvc_cli.progress import progress_of

        own = self.flags["data_dir"] is not None if self.what == "methods" else named(self.flags)
        index = index_of(cases[0].spec, self.console) if own else None
        return opened_feeds(cases, index, device, plan.steps or MOST_STEPS, progress_of(self.console, ""))

    def _visit(
        self, slowest: dict[str, list[Operation]], kind: What, device: torch.device
    ) -> Callable[[Case, Way], None]:
        """A callback that records a profiler trace of each case the user asked for, if --profile is given."""

        def visit(case: Case, way: Way) -> None:
            from fgvc_cli.bench.profiler import record

            if self.flags["profile"] is not None and case.asked:
                slowest[case.name] = record(way.step, device, self._trace_file(case.name, kind))

        return visit

    def _trace_file(self, name: str, kind: What) -> Path:
        return Path(self.flags["profile"]) / f"{kind}-{name}.json"

    @staticmethod
    def _as_json(measured: Measured, slowest: dict[str, list[Operation]]) -> dict[str, Any]:
        from dataclasses import asdict

        operations = {name: [asdict(one) for one in rows] for name, rows in slowest.items()}
        return measured.as_json() | ({"dearest_operations": operations} if operations else {})

    def _write(self, device: torch.device, *, whole: bool) -> None:
        """Write the file after each comparison, but to stdout only when everything is measured."""
        if whole or self.flags["json"] != Path("-"):
            settings = {"rounds": self.flags["rounds"], "classes": self.classes, "specs": self.specs, "complete": whole}
            write_found(self.flags["json"], self.what, device, settings, self.found)


def check_writable(path: Path, *, folder: bool) -> None:
    """BadRequest if a file or folder cannot be written, before minutes of measuring would be lost."""
    from fgvc_cli.errors import BadRequest

    if path == Path("-") and not folder:
        return
    home = path if folder else path.parent
    while not home.exists():
        home = home.parent
    if (path.is_dir() and not folder) or not home.is_dir() or not os.access(home, os.W_OK):
        raise BadRequest(f"cannot write {path}: choose another {'--profile' if folder else '--json'}")


def write_found(
    path: Path | None, what: str, device: torch.device, settings: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    """Write all results as JSON to `path`: - is stdout, None writes nothing."""
    if path is None:
        return
    from fgvc_cli.files import make_parent, write_json
    from fgvc_cli.runs.environment import describe

    specs = [spec.model_dump(mode="json") for spec in settings["specs"]]
    settings = {**settings, "specs": specs}
    whole = {"bench": what, "machine": describe(device), "settings": settings, "comparisons": found}
    if path == Path("-"):
        say_json(whole)
    else:
        make_parent(path)
        write_json(path, whole)
