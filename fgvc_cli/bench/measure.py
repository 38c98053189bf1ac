"""Training and inference of methods, timed in turns with their plain backbone."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch

from fgvc_cli.bench.cases import Case
from fgvc_cli.bench.feed import Feed
from fgvc_cli.bench.memory import PeakMemory, allocated
from fgvc_cli.bench.rounds import Progress, Stopwatch, in_turns, timed, waited
from fgvc_cli.bench.rows import Measured, Row
from fgvc_cli.bench.ways import Inferring, Training, Way, What, build_way
from fgvc_cli.machine.memory import is_out_of_memory
from fgvc_cli.methods.cost import Summary, summarize

SECONDS = {"train": 200.0, "infer": 100.0}  # about how long a comparison's steps may take, if no number is given
SINGLE_SECONDS = 60.0  # the same for its calls with one image
_SINGLE_CALLS, _FEWEST_ON_GPU = 400, 100
MOST_STEPS = 20
T = TypeVar("T")
Visit = Callable[[Case, Way], object]


@dataclass(frozen=True)
class Plan:
    """How much is measured. `steps` per round; None: as many as fit into SECONDS."""

    rounds: int = 8
    steps: int | None = None


@dataclass(frozen=True)
class _Built:
    case: Case
    way: Way | None  # None: it does not fit into memory
    own: int  # bytes that it allocated on a GPU

    @classmethod
    def of(cls, case: Case, what: What, device: torch.device) -> _Built:
        before = allocated(device)
        way = _fitted(partial(build_way, case, what, device), device)
        return cls(case, way, allocated(device) - before)


@dataclass(frozen=True)
class _Started:
    case: Case
    way: Way
    seconds: float  # of one step, roughly


def measure(
    cases: Sequence[Case],
    what: What,
    device: torch.device,
    plan: Plan,
    progress: Progress,
    feeds: Mapping[str, Feed] | None = None,
    visit: Visit | None = None,
) -> Measured:
    """Time steps of every case in turns; for inference, calls with one image as well.

    If a case does not fit into memory, its row says so, and the other cases are measured.

    Args:
        cases: the plain backbone first.
        what: train or infer.
        device: the device to measure on.
        plan: how much to measure.
        progress: called with the progress.
        feeds: images from files by name of a case; training on them is then timed as well.
        visit: called with each case and its way after everything is measured.

    Raises:
        FgvcError: a batch of one that BatchNorm cannot train on.
    """
    with _room_for_graphs(cases):
        return _measure(cases, what, device, plan, progress, feeds or {}, visit)


def _measure(
    cases: Sequence[Case],
    what: What,
    device: torch.device,
    plan: Plan,
    progress: Progress,
    feeds: Mapping[str, Feed],
    visit: Visit | None,
) -> Measured:
    rows = {case.name: _row(case, summarize(case.spec, case.classes)) for case in cases}
    # All are built before any is warmed up, because building a compiled case resets the compiler.
    built = [_Built.of(case, what, device) for case in cases]
    started = {}
    while built:
        cold = built.pop(0)
        progress(f"{_warming(cold.case)}: {cold.case.name}", 0, 0)
        row, ready = _start(rows[cold.case.name], cold, device)
        rows[row.name] = row
        if ready is not None:
            started[row.name] = ready
    everyone = list(started.values())
    steps = plan.steps or _affordable([one.seconds for one in everyone], SECONDS[what], plan.rounds, MOST_STEPS)
    _time_steps(rows, everyone, steps, device, plan.rounds, progress, feeds)
    if what == "infer":
        _time_single(rows, everyone, device, plan.rounds, progress)
    for one in everyone:
        if visit is not None:
            visit(one.case, one.way)
    return Measured(what, steps, tuple(rows.values()))


def _warming(case: Case) -> str:
    return "compiling (half a minute to several minutes) and warming up" if case.spec.train.compile else "warming up"


@contextmanager
def _room_for_graphs(cases: Sequence[Case]) -> Iterator[None]:
    """In this context, the compiler keeps a graph of each way and no older ones. It sees all steps as one function."""
    if not any(case.spec.train.compile for case in cases):
        yield
        return
    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=2 * len(cases) + 8):
        yield


def _start(row: Row, built: _Built, device: torch.device) -> tuple[Row, _Started | None]:
    """The row with its peak memory, and what to time; None if it does not fit into memory."""
    if built.way is not None:
        found = _fitted(partial(_warm, built.way, PeakMemory(device, built.own)), device)
        if found is not None:
            peak = None if built.case.exported else found[1]  # only PyTorch's allocator is asked
            return replace(row, peak_memory=peak), _Started(built.case, built.way, found[0])
    return replace(row, trouble="out of memory"), None


def _warm(way: Way, peak: PeakMemory) -> tuple[float, int | None]:
    """Seconds and peak bytes of a step, after a first step that allocates what stays, such as the optimizer's state."""
    way.step()
    (seconds,) = waited(way.step, 1, peak.device)
    return seconds, peak.of(way.step, way.tensors)


def _fitted(work: Callable[[], T], device: torch.device) -> T | None:
    """The result of `work`; None if there is not enough memory."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # outside the handler, since the error keeps references to the tensors
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _row(case: Case, counts: Summary) -> Row:
    spec = case.spec
    about = (case.name, spec.method.name, spec.backbone.name, spec.data.side)
    how = (spec.train.batch_size, spec.train.precision, spec.train.compile)
    return Row(*about, *how, counts.parameters, counts.multiply_adds)


def _time_steps(
    rows: dict[str, Row],
    started: Sequence[_Started],
    steps: int,
    device: torch.device,
    rounds: int,
    progress: Progress,
    feeds: Mapping[str, Feed],
) -> None:
    ways: dict[str, Callable[[], tuple[float, ...]]] = {}
    for one in started:
        ways[one.case.name] = partial(_turn, one.way.step, steps, device)
        feed = feeds.get(one.case.name)
        if feed is not None and isinstance(one.way, Training):
            ways[f"{one.case.name}/files"] = partial(feed.turn, one.way, steps)
    for name, found in in_turns(ways, rounds, progress).items():
        case, _, files = name.partition("/")
        rows[case] = replace(rows[case], files=found) if files else replace(rows[case], rounds=found)


def _time_single(
    rows: dict[str, Row], started: Sequence[_Started], device: torch.device, rounds: int, progress: Progress
) -> None:
    """Time calls with one image: all 400 if that is quick; on a GPU never fewer than p99 needs."""
    inferring = {one.case.name: one.way for one in started if isinstance(one.way, Inferring)}
    seconds = [waited(way.single, 2, device)[1] for way in inferring.values()]
    calls = _affordable(seconds, SINGLE_SECONDS, rounds, -(-_SINGLE_CALLS // rounds))
    calls = calls if device.type == "cpu" else max(calls, -(-_FEWEST_ON_GPU // rounds))
    ways = {name: partial(waited, way.single, calls, device) for name, way in inferring.items()}
    for name, found in in_turns(ways, rounds, progress, "measuring one image").items():
        rows[name] = replace(rows[name], single=tuple(call for turn in found for call in turn))


def _turn(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, ...]:
    return timed(step, steps, Stopwatch(device))


def _affordable(seconds: Sequence[float], limit: float, rounds: int, most: int) -> int:
    """Steps per round that fit into the limit, at least one. One more round than is counted warms up."""
    once = sum(seconds) * (rounds + 1)
    return max(1, min(most, int(limit / once))) if once else 1
