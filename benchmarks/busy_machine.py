"""How long a step takes beside other busy processes, by how long OpenMP's threads spin while they wait.

    python -m benchmarks.busy_machine [--network lite0] [--threads 2] [--rounds 6] [--spins 300000 10000 …]

A spin count is a process', read when PyTorch is loaded; so each is a process that waits until it is asked. They take
turns: in every round each of them trains, then infers, for `--seconds`, alone, beside one busy process and beside two.
300000 is what libgomp does when it is told nothing, `passive` is `OMP_WAIT_POLICY=PASSIVE`, `fgvc` what fgvc does.
Printed are, after every round, the medians over all steps, what each setting takes alone over what the first of them
takes, and what it takes beside the others over its own time alone. With `--twin` the busy process is another run of the
same setting that trains. A turn in which anything else took more than `--foreign` of a core does not count.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fgvc_cli.inference.folding import fold_batch_norm
from fgvc_cli.machine.contention import busy_seconds
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.spec.build import build_spec
from fgvc_cli.training.learner import Learner, random_batch

CLASSES = 200
WORK = ("training", "inference")
OWN = "300000"
NETWORKS = {"lite0": ("timm:tf_efficientnet_lite0", 8, 160), "resnet50": ("resnet50", 4, 160)}
SPINS = (OWN, "fgvc", "10001", "5000", "3000", "1000", "passive")
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
CORES = set(range(os.cpu_count() or 1))
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(1_000_000): pass"
SETTLE = 1.6  # seconds, in which fgvc sees that others are busy, or no longer
Times = dict[tuple[str, int, str], list[float]]


def work_of(network: str, threads: int) -> dict[str, Callable[[], object]]:
    """One step of training and one pass of inference, as fgvc runs them, on noise."""
    name, batch, size = NETWORKS[network]
    flags = {"backbone.name": name, "backbone.weights": "none", "data.image_size": size, "data.root": "."}
    flags |= {"train.device": "cpu", "train.threads": threads, "train.batch_size": batch}
    spec = build_spec(method="baseline", dataset="folder", flags=flags)
    device = prepare_device(spec.train)
    trained, evaluated = (Learner.build(spec, CLASSES, device, steps_per_epoch=1, load_weights=False) for _ in WORK)
    fold_batch_norm(evaluated.method.eval())
    trained.begin_epoch(0)
    trained.method.train()
    images = random_batch(batch, size, CLASSES, device)

    def training() -> None:
        trained.backward(images)
        trained.update()

    def inference() -> None:
        with torch.inference_mode():
            evaluated.method(images.images)

    return {"training": training, "inference": inference}


def serve(network: str, threads: int) -> None:
    """For each line "work seconds" on stdin answer with the times of its steps."""
    work = work_of(network, threads)
    for run in work.values():
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        times: list[float] = []
        while sum(times) < float(seconds):
            started = time.perf_counter()
            work[name]()
            times.append(time.perf_counter() - started)
        print(json.dumps(times), flush=True)


class Side:
    """A process with one setting."""

    def __init__(self, spin: str, network: str, threads: int) -> None:
        given = {"fgvc": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}.get(spin, {"GOMP_SPINCOUNT": spin})
        variables = {name: value for name, value in os.environ.items() if name not in VARIABLES} | given
        own = [sys.executable, "-m", "benchmarks.busy_machine", "--serve"]
        own += ["--network", network, "--threads", str(threads)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(own, stdin=pipe, stdout=pipe, text=True, env=variables)

    def say(self, work: str, seconds: float) -> None:
        """Ask for so many seconds of work."""
        assert self.process.stdin is not None
        print(work, seconds, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        """The answer's line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """So many processes that do nothing but compute: their ids."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    time.sleep(0.3 if count else 0)
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def process_seconds(pid: int) -> float:
    """CPU time that one process has spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def turn(side: Side, twin: Side | None, count: int, given: argparse.Namespace, work: str) -> tuple[list[float], float]:
    """The times of one setting's turn, and how much of a core was taken by what does not belong to it."""
    with busy(count if twin is None else 0) as others:
        time.sleep(SETTLE)
        own = [side.process.pid, os.getpid(), *others, *([twin.process.pid] if twin else [])]
        before, started = busy_seconds(CORES) - sum(map(process_seconds, own)), time.perf_counter()
        if twin is not None:
            twin.say("training", given.seconds)
        side.say(work, given.seconds)
        times: list[float] = json.loads(side.hear())
        wall = time.perf_counter() - started
        foreign = (busy_seconds(CORES) - sum(map(process_seconds, own)) - before) / wall
        if twin is not None:
            twin.hear()
    return times, foreign


def measure(given: argparse.Namespace) -> Iterator[Times]:
    """After each round the times of all steps so far, by setting, number of busy processes and work."""
    sides = {spin: Side(spin, given.network, given.threads) for spin in given.spins}
    twins = {spin: Side(spin, given.network, given.threads) for spin in given.spins if given.twin}
    for side in (*sides.values(), *twins.values()):
        side.hear()
    times: Times = {}
    ends = time.monotonic() + given.limit
    for _ in range(given.rounds):
        for count, work, spin in itertools.product(given.beside, WORK, given.spins):
            twin = twins[spin] if given.twin and count else None
            found, foreign = turn(sides[spin], twin, count, given, work)
            if foreign <= given.foreign:
                times.setdefault((spin, count, work), []).extend(found)
            if time.monotonic() > ends:
                break
        yield times
        if time.monotonic() > ends:
            break
    for side in (*sides.values(), *twins.values()):
        side.process.kill()


def show(times: Times, work: str, spins: list[str]) -> None:
    """A table of one kind of work."""
    print(f"{work}, ms: median (a tenth was quicker, a tenth slower; steps)")
    for spin in spins:
        cells = [f"{spin:>8s}"]
        for count in sorted({count for _, count, _ in times}):
            found, base = times.get((spin, count, work)), times.get((spin if count else spins[0], 0, work))
            if not found or not base:
                cells.append(f"{'-':33s}")
                continue
            tenths = statistics.quantiles(found * 2, n=10)
            number = (
                f"{1e3 * statistics.median(found):.0f} ({1e3 * tenths[0]:.0f} to {1e3 * tenths[-1]:.0f}; {len(found)})"
            )
            cells.append(f"{number:26s} x{statistics.median(found) / statistics.median(base):5.2f}")
        print(" | ".join(cells), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="lite0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spins", nargs="+", default=list(SPINS))
    parser.add_argument("--beside", nargs="+", type=int, default=[0, 1, 2], help="how many busy processes")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--limit", type=float, default=240, help="stop after so many seconds")
    parser.add_argument("--foreign", type=float, default=0.08)
    parser.add_argument("--twin", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.network, given.threads)
        return
    for number, times in enumerate(measure(given), start=1):
        print(f"{given.network}, {given.threads} threads, PyTorch {torch.__version__}, {number} rounds")
        for work in WORK:
            show(times, work, given.spins)


if __name__ == "__main__":
    main()
