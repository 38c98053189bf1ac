"""While other processes need the cores, waiting OpenMP threads sleep at once instead of spinning.

No single spin count suits both a quiet machine, where waking a sleeping thread takes time, and a busy one, where a
spinning thread keeps the thread that it waits for from getting a core. libgomp lowers the count itself when it has more
threads than there are cores: each then spins at most 100 rounds (its manual, GOMP_SPINCOUNT). It does not see other
processes, however. So while those are busy, fgvc keeps additional teams of idle threads, which libgomp counts. The
number of threads that compute and what each computes stay the same.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from fgvc_cli.machine.spin import spin_is_ours

_SECONDS = 0.25  # between two readings of /proc/stat
_PART = 0.3  # of a core missing for our threads; an idle desktop takes less
_CALM = 4  # readings in a row without contention before threads may spin again
_GRAIN = 32768  # PyTorch gives each thread at least this many elements


@functools.cache
def yield_to_others() -> None:
    """Start watching, once per process, unless threads never spin or the user has set how they wait."""
    if sys.platform == "linux" and spin_is_ours() and torch.get_num_threads() > 1:
        cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
        if teams_for(len(cores), threads):
            over = threading.Event()
            watcher = threading.Thread(target=_watch, args=(cores, threads, over), name="fgvc-contention", daemon=True)
            watcher.start()
            atexit.register(_end, watcher, over)


def teams_for(cores: int, threads: int) -> int:
    """Additional teams needed for more threads than cores; a team adds all of its threads except its master."""
    return max(0, (cores - threads) // (threads - 1) + 1)


def cores_of_others(cores: set[int], over: threading.Event, seconds: float = _SECONDS) -> float:
    """Number of these cores that other processes keep busy, measured over `seconds` or until `over` is set."""
    before, started = busy_seconds(cores) - time.process_time(), time.monotonic()
    over.wait(seconds)
    return (busy_seconds(cores) - time.process_time() - before) / (time.monotonic() - started)


def busy_seconds(cores: set[int]) -> float:
    """Seconds that these cores have spent on user, nice, system and interrupts (man 5 proc_stat)."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if name.removeprefix("cpu").isdigit() and int(name.removeprefix("cpu")) in cores:
            user, nice, system, _, _, irq, softirq = map(int, rest.split()[:7])
            ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK")


def _watch(cores: set[int], threads: int, over: threading.Event) -> None:
    room = len(cores) - threads + _PART
    calm = _CALM
    with ExitStack() as teams:
        while not over.is_set():
            contended = cores_of_others(cores, over) > room
            if contended and calm >= _CALM:
                teams.enter_context(more_teams(teams_for(len(cores), threads)))
            calm = 0 if contended else calm + 1
            if calm == _CALM:
                teams.close()


def _end(watcher: threading.Thread, over: threading.Event) -> None:
    """Stop before Python exits: a thread that still computes then would end it with an error."""
    over.set()
    watcher.join()


@contextmanager
def more_teams(count: int) -> Iterator[None]:
    """Within, `count` additional teams sleep. A team belongs to the thread that created it, and ends with it."""
    over = threading.Event()
    all_there = threading.Barrier(count + 1)

    def hold() -> None:
        torch.zeros(_GRAIN * torch.get_num_threads()).add_(1)  # large enough to start all threads of the team
        all_there.wait()
        over.wait()

    holders = [threading.Thread(target=hold, name="fgvc-idle-team", daemon=True) for _ in range(count)]
    for holder in holders:
        holder.start()
    all_there.wait()
    try:
        yield
    finally:
        over.set()
        for holder in holders:
            holder.join()
