"""What this machine can do: its checks, and how fast things are on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from fgvc_cli.api.specs import asked_spec, resolved_spec
from fgvc_cli.data.facts import classes_of
from fgvc_cli.doctor import checks
from fgvc_cli.doctor.check import Check
from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded, make_parent, write_json
from fgvc_cli.spec import methods as spec_methods
from fgvc_cli.spec.flags import checked_flags, sets_of
from fgvc_cli.terminal import Console

if TYPE_CHECKING:
    import torch

    from fgvc_cli.bench.cases import Case
    from fgvc_cli.bench.data import Found
    from fgvc_cli.bench.measure import Plan
    from fgvc_cli.bench.profiler import Operation
    from fgvc_cli.bench.rows import Measured
    from fgvc_cli.bench.ways import Way, What
    from fgvc_cli.data.types import DatasetIndex
    from fgvc_cli.spec.run import RunSpec

_Path: TypeAlias = str | os.PathLike[str]
Kind = Literal["train", "infer", "methods", "data"]
_GENERATED = ("data.image_size=448", "data.resize=512")  # of images that no dataset is named for


def check_machine() -> Iterator[Check]:
    """Check this machine as `fgvc doctor` does: versions, device, image formats, disk, extras, weights, presets.

    Each check is given as soon as it is made: its name, its state (ok, note, broken) and a line. Takes some seconds.
    """
    return checks.examine(checks.every_check())


class BenchFlags(TypedDict, total=False):
    """The flags of `fgvc bench`, which says what they are and to which measurement they belong; None: not given."""

    method: str | None
    methods: str | Sequence[str] | None  # of "methods": only these
    dataset: str | None
    preset: str | None
    config: _Path | None
    set: Sequence[str] | Mapping[str, Any] | None  # FIELD=VALUE, or field → value
    model: _Path | None  # an exported .onnx
    classes: int | None
    batch_size: int | None
    backbone: str | None
    image_size: int | str | None
    fit: str | None
    device: str | None
    precision: str | None
    compile: bool | None
    data_dir: _Path | None
    workers: int | None
    cache: str | None
    from_files: bool
    images: int
    rounds: int
    steps: int | None
    stock: bool
    profile: _Path | None  # folder of the traces
    json: _Path | None  # file of all results


_SPEC = {"dataset", "preset", "config", "set", "image_size", "batch_size", "device"}
_NETWORK = {"classes", "backbone", "precision", "compile", "steps", "stock", "profile", "rounds", "json"}
_FILES = {"data_dir", "workers", "cache", "from_files"}
_TAKES: dict[str, set[str]] = {
    "train": {"method", *_SPEC, *_NETWORK, *_FILES},
    "infer": {"method", "model", *_SPEC, *_NETWORK},
    "methods": {"methods", *_SPEC, *_NETWORK, *_FILES} - {"dataset", "preset", "config"},
    "data": {*_SPEC, "fit", "data_dir", "workers", "images", "rounds", "json"},
}


@dataclass(frozen=True)
class Comparison:
    """Ways that were timed in turns on a device."""

    measured: Measured
    device: torch.device
    operations: dict[str, list[Operation]]  # of each way that was asked for, if it was profiled; the dearest first
    traces: dict[str, Path]  # for chrome://tracing or Perfetto

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        operations = {name: [asdict(one) for one in rows] for name, rows in self.operations.items()}
        return self.measured.as_json() | ({"dearest_operations": operations} if operations else {})


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and with which settings on which machine."""

    what: Kind
    machine: dict[str, Any]
    specs: tuple[RunSpec, ...]
    rounds: int
    classes: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    loading: Found | None = None  # of "data": images per second of each way to load them
    complete: bool = True

    @property
    def short(self) -> tuple[str, ...]:
        """What did not fit into memory."""
        rows = [(one.measured, row) for one in self.comparisons for row in one.measured.rows]
        return tuple(f"{row.name} ({measured.what})" for measured, row in rows if row.trouble)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as `json=FILE` writes them."""
        specs = [spec.model_dump(mode="json") for spec in self.specs]
        settings: dict[str, Any] = {"rounds": self.rounds, "specs": specs}
        found = [one.as_json() for one in self.comparisons]
        if self.loading is None:
            settings |= {"classes": self.classes, "complete": self.complete}
        else:
            found = [self.loading.as_json()]
        return {"bench": self.what, "machine": self.machine, "settings": settings, "comparisons": found}


Show = Callable[[Comparison], object]


def benchmark(what: Kind, *, progress: bool = True, **flags: Unpack[BenchFlags]) -> Benchmark:
    """Measure how fast things are on this machine, as `fgvc bench` does.

    Args:
        what: train: training steps of a method; infer: its inference; methods: both of every method; data: the ways to
            load training images.
        progress: show notes and progress on stderr.
        flags: those of `fgvc bench WHAT`, with underscores: `method`, `image_size`, `rounds`, `steps`, ….

    Raises:
        BadRequest: a flag is wrong.
        FgvcError: a file cannot be written. What does not fit into memory is told in its row, and in `short`.
    """
    return benchmarked(what, flags, Console(stderr=True, quiet=not progress), lambda _: None)


def benchmarked(what: Kind, flags: Mapping[str, Any], console: Console, show: Show) -> Benchmark:
    """The same; `show` is called with each comparison as soon as it is complete."""
    if what not in _TAKES:
        raise BadRequest(f"{what} cannot be measured: choose {', '.join(list(_TAKES)[:-1])} or {list(_TAKES)[-1]}")
    found = checked_flags(flags, _TAKES[what], f"a benchmark of {what}")
    asked = {"rounds": 8} | found | {"sets": sets_of(found.pop("set", None))}
    for name in ("rounds", "steps", "images"):
        if asked.get(name) is not None and asked[name] < (2 if name == "images" else 1):
            raise BadRequest(f"--{name} {asked[name]}: give at least {2 if name == 'images' else 1}")
    for name in ("json", "profile"):
        asked[name] = None if asked.get(name) is None else expanded(asked[name])
        check_writable(asked[name], name)
    # PyTorch reads these at import; without them, its profiler logs lines about itself that look like failures.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    measure = {"train": _train, "infer": _infer, "methods": _methods, "data": _data}[what]
    return measure(asked, console, show)


def check_writable(path: Path | None, flag: str) -> None:
    """BadRequest if a file, or the folder --profile, cannot be written, before minutes of measuring would be lost."""
    if path is None:
        return
    folder = flag == "profile"
    home = path if folder else path.parent
    while not home.exists():
        home = home.parent
    if (path.is_dir() and not folder) or not home.is_dir() or not os.access(home, os.W_OK):
        raise BadRequest(f"cannot write {path}: choose another --{flag}")


def _train(flags: dict[str, Any], console: Console, show: Show) -> Benchmark:
    spec = resolved_spec({**flags, "weights": "none"}, console.note)
    return _Bench("train", flags, (spec,), classes_of(spec, flags.get("classes")), console, show).run(("train",))


def _infer(flags: dict[str, Any], console: Console, show: Show) -> Benchmark:
    if flags.get("model") is None:
        spec = resolved_spec({**flags, "weights": "none"}, console.note)
        return _Bench("infer", flags, (spec,), classes_of(spec, flags.get("classes")), console, show).run(("infer",))
    own = ("model", "batch_size", "rounds", "steps", "json")
    odd = [f"--{key.replace('_', '-')}" for key, value in flags.items() if value and key not in own]
    if odd:
        raise BadRequest(f"--model says what is measured: leave {', '.join(odd)} out")
    from fgvc_cli.bench.cases import cases_of_export

    cases = cases_of_export(expanded(flags["model"]), flags.get("batch_size"))
    return _Bench("infer", flags, (cases[0].spec,), cases[0].classes, console, show).run(("infer",), [cases])


def _methods(flags: dict[str, Any], console: Console, show: Show) -> Benchmark:
    every = [
        name for name, spec in spec_methods.METHOD_SPECS.items() if not spec.at_once
    ]  # a probe is its plain backbone
    given = flags.get("methods")
    names = every if given is None else [given] if isinstance(given, str) else list(given)
    for name in names:
        spec_methods.method_spec(name)
    asked = {**flags, "dataset": "cub", "weights": "none"}
    asked["batch_size"] = flags.get("batch_size") or _batch_size(asked_spec(asked, console.note))
    specs = tuple(resolved_spec({**asked, "method": name}, console.note) for name in dict.fromkeys(names))
    classes = classes_of(specs[0], flags.get("classes"))
    return _Bench("methods", flags, specs, classes, console, show).run(("train", "infer"))


def _batch_size(spec: RunSpec) -> int | None:
    """On a CPU 2, the smallest batch that BatchNorm trains on; elsewhere None: the presets decide."""
    from fgvc_cli.machine.device import resolve_device

    return 2 if resolve_device(spec.train.device).type == "cpu" else None


def _data(flags: dict[str, Any], console: Console, _: Show) -> Benchmark:
    generated = () if _named(flags) else _GENERATED
    spec = resolved_spec({**flags, "sets": [*generated, *flags["sets"]]}, console.note)

    from fgvc_cli.bench.data import Setting, measure
    from fgvc_cli.machine.device import prepare_device
    from fgvc_cli.progress import progress_of
    from fgvc_cli.runs.environment import describe

    device = prepare_device(spec.train)
    index = _index_of(spec, console) if _named(flags) else None
    images = flags.get("images", 512)
    setting = Setting(spec.data, spec.train.batch_size, device, flags["rounds"], images, flags.get("workers"))
    found = measure(setting, index, progress_of(console, ""))
    whole = Benchmark("data", describe(device), (spec,), flags["rounds"], loading=found)
    _write(whole, flags["json"])
    return whole


def _named(flags: Mapping[str, Any]) -> bool:
    """Whether the user named a dataset."""
    return any(flags.get(key) is not None for key in ("dataset", "preset", "config"))


def _index_of(spec: RunSpec, console: Console) -> DatasetIndex:
    """The index of the spec's dataset, with the spec's splits."""
    from fgvc_cli.data.datasets import load_index
    from fgvc_cli.data.splits import apply_spec
    from fgvc_cli.progress import progress_of

    return apply_spec(load_index(spec.data, progress=progress_of(console)), spec.data)


def _write(found: Benchmark, file: Path | None) -> None:
    if file is not None:
        make_parent(file)
        write_json(file, found.as_json())


@dataclass
class _Bench:
    """What train, infer and methods have in common."""

    what: Kind
    flags: Mapping[str, Any]
    specs: tuple[RunSpec, ...]
    classes: int
    console: Console
    show: Show
    found: list[Comparison] = field(default_factory=list)

    def run(self, kinds: Sequence[What], groups: Sequence[list[Case]] | None = None) -> Benchmark:
        """Measure everything; the file is written after each comparison.

        Args:
            kinds: what is measured.
            groups: the cases that are compared with each other; None: the methods, each beside its plain backbone.
        """
        from fgvc_cli.bench.cases import cases_of, comparable
        from fgvc_cli.machine.compiling import check_compiler
        from fgvc_cli.machine.device import prepare_device

        device = prepare_device(self.specs[0].train)
        if self.specs[0].train.compile:
            check_compiler(device)
        stock = bool(self.flags.get("stock"))
        for cases in groups or [cases_of(specs, self.classes, stock=stock) for specs in comparable(self.specs)]:
            for kind in kinds:
                self.found.append(self._compare(cases, kind, device))
                self.show(self.found[-1])
                _write(self._told(device, complete=False), self.flags["json"])
        whole = self._told(device, complete=True)
        _write(whole, self.flags["json"])
        return whole

    def _told(self, device: torch.device, *, complete: bool) -> Benchmark:
        from fgvc_cli.runs.environment import describe

        found, rounds = tuple(self.found), self.flags["rounds"]
        return Benchmark(self.what, describe(device), self.specs, rounds, self.classes, found, None, complete)

    def _compare(self, cases: list[Case], kind: What, device: torch.device) -> Comparison:
        from fgvc_cli.bench.measure import Plan, measure
        from fgvc_cli.bench.profiler import record
        from fgvc_cli.progress import progress_of

        plan = Plan(self.flags["rounds"], self.flags.get("steps"))
        traces: dict[str, Path] = {}
        slowest: dict[str, list[Operation]] = {}

        def visit(case: Case, way: Way) -> None:
            if self.flags["profile"] is not None and case.asked:
                traces[case.name] = self.flags["profile"] / f"{kind}-{case.name}.json"
                slowest[case.name] = record(way.step, device, traces[case.name])

        with self._feeds(cases, kind, device, plan) as feeds:
            measured = measure(cases, kind, device, plan, progress_of(self.console, ""), feeds, visit)
        return Comparison(measured, device, slowest, traces)

    def _feeds(self, cases: list[Case], kind: What, device: torch.device, plan: Plan) -> Any:
        """A context with the data loaders if training from files is measured, else an empty one."""
        if kind != "train" or not self.flags.get("from_files"):
            return nullcontext()
        from fgvc_cli.bench.feed import opened_feeds
        from fgvc_cli.bench.measure import MOST_STEPS
        from fgvc_cli.progress import progress_of

        own = self.flags.get("data_dir") is not None if self.what == "methods" else _named(self.flags)
        index = _index_of(cases[0].spec, self.console) if own else None
        return opened_feeds(cases, index, device, plan.steps or MOST_STEPS, progress_of(self.console, ""))
