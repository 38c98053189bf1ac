"""`fgvc bench`: how fast things are on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgvc_cli.cli import options

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from fgvc_cli.bench.dearest import Operation
    from fgvc_cli.bench.measure import Plan
    from fgvc_cli.bench.rows import Measured
    from fgvc_cli.bench.ways import Case, Way, What
    from fgvc_cli.data.types import DatasetIndex
    from fgvc_cli.spec.run import RunSpec

bench = typer.Typer(no_args_is_help=True, help="Measure how fast things are on this machine.")

_MEASURE = "What is measured"


def _flag(help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_MEASURE, show_default=False, **more)


Rounds = Annotated[int, typer.Option(min=1, help="Measure every way so many times, in turns.")]
Steps = Annotated[int | None, _flag("Steps of a way in a round. Default: what there is time for, 20 at most.", min=1)]
Stock = Annotated[bool, _flag("Also the plain backbone as PyTorch comes: fp32, NCHW, eager.", "--stock")]
Trace = Annotated[
    Path | None, _flag("Write a trace of some steps into this folder; print the dearest operations.", "--profile")
]
Json = Annotated[Path | None, _flag("Write everything there as JSON; - prints it instead of the table.", "--json")]
FromFiles = Annotated[bool, _flag("Also training on images from files, through the run's own loader.", "--from-files")]
Methods = Annotated[str | None, _flag("These alone, between commas. Default: every method.")]


@bench.callback()
def _group() -> None:
    """Measure how fast things are on this machine."""
    # Read where PyTorch is loaded: its profiler reports on itself otherwise, in lines that look like failures.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


@bench.command("train")
def train(
    method: options.Method = None,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    classes: options.Classes = None,
    batch_size: options.BatchSize = None,
    backbone: options.Backbone = None,
    image_size: options.ImageSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    data_dir: options.DataDir = None,
    workers: options.Workers = None,
    cache: options.Cache = None,
    from_files: FromFiles = False,
    rounds: Rounds = 8,
    steps: Steps = None,
    stock: Stock = False,
    profile: Trace = None,
    json: Json = None,
) -> None:
    """Training steps on a batch that never changes, beside the plain backbone's in the same rounds.

    Weights are random, nothing is fetched; without --from-files no dataset is needed.
    """
    flags = dict(locals())
    _Bench("train", flags, options.spec_of({**flags, "weights": "none"})).run(("train",))


@bench.command("infer")
def infer(
    method: options.Method = None,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.Config = None,
    sets: options.Sets = None,
    classes: options.Classes = None,
    batch_size: options.BatchSize = None,
    backbone: options.Backbone = None,
    image_size: options.ImageSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    rounds: Rounds = 8,
    steps: Steps = None,
    stock: Stock = False,
    profile: Trace = None,
    json: Json = None,
) -> None:
    """Images a second in batches, and how long one image takes, beside the plain backbone in the same rounds.

    Weights are random, nothing is fetched; no dataset is needed.
    """
    flags = dict(locals())
    _Bench("infer", flags, options.spec_of({**flags, "weights": "none"})).run(("infer",))


@bench.command("methods")
def methods(
    methods: Methods = None,
    sets: options.Sets = None,
    classes: options.Classes = None,
    batch_size: options.BatchSize = None,
    backbone: options.Backbone = None,
    image_size: options.ImageSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compile: options.Compile = None,
    data_dir: options.DataDir = None,
    workers: options.Workers = None,
    cache: options.Cache = None,
    from_files: FromFiles = False,
    rounds: Rounds = 8,
    steps: Steps = None,
    stock: Stock = False,
    profile: Trace = None,
    json: Json = None,
) -> None:
    """Every method as its paper has it on CUB-200-2011, or all with one backbone and size: training and inference.

    Batches are those of the presets on a GPU, of 2 on a CPU. --from-files takes CUB from --data-dir, or drawn images.
    """
    from fgvc_cli.spec.methods import METHOD_SPECS, method_spec

    flags = {**locals(), "dataset": "cub", "weights": "none"}
    names = list(METHOD_SPECS) if methods is None else [name.strip() for name in methods.split(",")]
    for name in names:
        method_spec(name)
    flags["batch_size"] = batch_size or _batch_size(options.spec_of(flags))
    specs = [options.spec_of({**flags, "method": name}) for name in dict.fromkeys(names)]
    _Bench("methods", flags, *specs).run(("train", "infer"))


def _batch_size(spec: RunSpec) -> int | None:
    """On a CPU two images, the fewest that BatchNorm trains on; elsewhere the presets decide."""
    from fgvc_cli.engine.device import resolve_device

    return 2 if resolve_device(spec.train.device).type == "cpu" else None


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
    rounds: Rounds = 8,
    json: Json = None,
) -> None:
    """Images a second of each way to load training images, beside the usual one.

    Without a dataset: photographs of 500 x 400 pixels that are drawn for it, resized to 512 and cropped to 448.
    """
    flags = dict(locals())
    if json is not None:
        _check_writable(json, folder=False)
    drawn = () if _named(flags) else ("data.image_size=448", "data.resize=512")
    spec = options.spec_of({**flags, "sets": [*drawn, *(sets or ())]})

    from rich.console import Console

    from fgvc_cli.bench.data import Setting, measure
    from fgvc_cli.cli.bench_tables import print_data
    from fgvc_cli.engine.device import prepare_device
    from fgvc_cli.engine.evaluate import looking

    console = Console(stderr=True)
    found_device = prepare_device(spec.train)
    index = _index(spec, console) if _named(flags) else None
    setting = Setting(spec.data, spec.train.batch_size, found_device, rounds, images, workers)
    found = measure(setting, index, looking(console, ""))
    if json != Path("-"):
        print_data(found, f"{spec.data.resize_side} → {spec.data.image_size} pixels, batches of {setting.batch_size}")
    _write(json, "data", found_device, {"rounds": rounds, "specs": [spec]}, [found.as_json()])


def _named(flags: dict[str, Any]) -> bool:
    """Whether the user said whose data."""
    return any(flags.get(key) is not None for key in ("dataset", "preset", "config"))


def _index(spec: RunSpec, console: Console) -> DatasetIndex:
    from fgvc_cli.data.datasets import load_index
    from fgvc_cli.data.splits import apply_spec
    from fgvc_cli.engine.evaluate import looking

    return apply_spec(load_index(spec.data, progress=looking(console)), spec.data)


class _Bench:
    """What train, infer and methods have in common: measure, print, write."""

    def __init__(self, what: str, flags: dict[str, Any], *specs: RunSpec) -> None:
        from rich.console import Console

        self.what, self.flags, self.specs = what, flags, specs
        self.console = Console(stderr=True)
        self.classes = options.classes_of(specs[0], flags["classes"])
        for path, folder in ((flags["json"], False), (flags["profile"], True)):
            if path is not None:
                _check_writable(path, folder=folder)
        self.found: list[dict[str, Any]] = []
        self.short: list[str] = []  # what did not fit into memory

    def run(self, kinds: Sequence[What]) -> None:
        """Measure all there is, a table as soon as it is known."""
        from fgvc_cli.bench.ways import cases_of, comparable
        from fgvc_cli.engine.compiling import check_compiler
        from fgvc_cli.engine.device import prepare_device
        from fgvc_cli.errors import FgvcError

        device = prepare_device(self.specs[0].train)
        if self.specs[0].train.compile:
            check_compiler(device)
        for specs in comparable(self.specs):
            cases = cases_of(specs, self.classes, stock=self.flags["stock"])
            for kind in kinds:
                self._compare(cases, kind, device)
                self._write(device, whole=False)
        self._write(device, whole=True)
        if self.short:
            advice = "use a smaller --batch-size or --image-size, or --precision bf16"
            raise FgvcError(f"out of memory: {', '.join(self.short)}; {advice}")

    def _compare(self, cases: list[Case], kind: What, device: torch.device) -> None:
        from fgvc_cli.bench.measure import Plan, measure
        from fgvc_cli.cli.bench_tables import print_dearest, print_measured
        from fgvc_cli.engine.evaluate import looking

        plan = Plan(self.flags["rounds"], self.flags["steps"])
        dearest: dict[str, list[Operation]] = {}
        told = looking(self.console, "")
        with self._feeds(cases, kind, device, plan) as feeds:
            visit = self._visit(dearest, kind, device)
            measured = measure(cases, kind, device, plan, told, feeds, visit)
        self.found.append(self._as_json(measured, dearest))
        self.short += [f"{row.name} ({kind})" for row in measured.rows if row.trouble]
        if self.flags["json"] != Path("-"):
            print_measured(measured, device)
            for name, operations in dearest.items():
                print_dearest(name, kind, operations, self._trace_file(name, kind))

    def _feeds(self, cases: list[Case], kind: What, device: torch.device, plan: Plan) -> Any:
        """Loaders, where training on images from files was asked for."""
        if kind != "train" or not self.flags["from_files"]:
            return nullcontext()
        from fgvc_cli.bench.feed import opened_feeds
        from fgvc_cli.bench.measure import MOST_STEPS
        from fgvc_cli.engine.evaluate import looking

        named = self.flags["data_dir"] is not None if self.what == "methods" else _named(self.flags)
        index = _index(cases[0].spec, self.console) if named else None
        return opened_feeds(cases, index, device, plan.steps or MOST_STEPS, looking(self.console, ""))

    def _visit(
        self, dearest: dict[str, list[Operation]], kind: What, device: torch.device
    ) -> Callable[[Case, Way], None]:
        """Records a trace of what was asked for, where there is a folder for it."""

        def visit(case: Case, way: Way) -> None:
            from fgvc_cli.bench.dearest import record

            if self.flags["profile"] is not None and case.asked:
                dearest[case.name] = record(way.step, device, self._trace_file(case.name, kind))

        return visit

    def _trace_file(self, name: str, kind: What) -> Path:
        return Path(self.flags["profile"]) / f"{kind}-{name}.json"

    @staticmethod
    def _as_json(measured: Measured, dearest: dict[str, list[Operation]]) -> dict[str, Any]:
        from dataclasses import asdict

        operations = {name: [asdict(one) for one in rows] for name, rows in dearest.items()}
        return measured.as_json() | ({"dearest_operations": operations} if operations else {})

    def _write(self, device: torch.device, *, whole: bool) -> None:
        """The file after each comparison, standard output when all is known."""
        if whole or self.flags["json"] != Path("-"):
            settings = {"rounds": self.flags["rounds"], "classes": self.classes, "specs": self.specs, "complete": whole}
            _write(self.flags["json"], self.what, device, settings, self.found)


def _check_writable(path: Path, *, folder: bool) -> None:
    """BadRequest where a file or folder cannot be written: minutes of measuring would be lost."""
    from fgvc_cli.errors import BadRequest

    if path == Path("-") and not folder:
        return
    home = path if folder else path.parent
    while not home.exists():
        home = home.parent
    if (path.is_dir() and not folder) or not home.is_dir() or not os.access(home, os.W_OK):
        raise BadRequest(f"cannot write {path}: choose another {'--profile' if folder else '--json'}")


def _write(
    path: Path | None, what: str, device: torch.device, settings: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    """Everything as JSON where it was asked for."""
    if path is None:
        return
    import json

    from fgvc_cli.engine.environment import describe
    from fgvc_cli.files import write_json

    specs = [spec.model_dump(mode="json") for spec in settings["specs"]]
    settings = {**settings, "specs": specs}
    whole = {"bench": what, "machine": describe(device), "settings": settings, "comparisons": found}
    if path == Path("-"):
        print(json.dumps(whole, ensure_ascii=False))
    else:
        write_json(path, whole)
