"""While other processes need the cores, OpenMP's threads sleep at once instead of spinning.

No spin count suits both a quiet machine, where a thread that sleeps is slow to wake, and a busy one, where a thread
that spins keeps the one that it waits for from getting a core. libgomp knows this of its own threads: once it counts
more of them than there are cores, each spins 100 rounds at most (its manual, GOMP_SPINCOUNT). What it does not see are
other processes. So while those are busy there are further teams of threads, which do nothing but be counted. What the
threads compute, and how many share it, stays the same.
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

_SECONDS = 0.25  # between two looks
_PART = 0.3  # of a core that the threads are short of: what the rest of a desktop takes is less
_CALM = 4  # looks in a row that find room, until threads spin again
_GRAIN = 32768  # elements that PyTorch gives a thread at least


@functools.cache
def yield_to_others() -> None:
    """Begin to watch, once a process, unless threads never spin or the user has said how they wait."""
    if sys.platform == "linux" and spin_is_ours() and torch.get_num_threads() > 1:
        cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
        if teams_for(len(cores), threads):
            over = threading.Event()
            watcher = threading.Thread(target=_watch, args=(cores, threads, over), name="fgvc-crowd", daemon=True)
            watcher.start()
            atexit.register(_end, watcher, over)


def teams_for(cores: int, threads: int) -> int:
    """How many further teams make more threads than cores; a team adds all of its threads but the one it belongs to."""
    return max(0, (cores - threads) // (threads - 1) + 1)


def cores_of_others(cores: set[int], over: threading.Event, seconds: float = _SECONDS) -> float:
    """How many of these cores other processes keep busy, over so many seconds or until it is over. Reads /proc/stat."""
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
            crowded = cores_of_others(cores, over) > room
            if crowded and calm >= _CALM:
                teams.enter_context(more_teams(teams_for(len(cores), threads)))
            calm = 0 if crowded else calm + 1
            if calm == _CALM:
                teams.close()


def _end(watcher: threading.Thread, over: threading.Event) -> None:
    """Before Python ends, since a thread that is computing then would end it with an error."""
    over.set()
    watcher.join()


@contextmanager
def more_teams(count: int) -> Iterator[None]:
    """So many further teams, asleep. A team belongs to the thread that first computes with it, and ends with it."""
    over = threading.Event()
    all_there = threading.Barrier(count + 1)

    def hold() -> None:
        torch.zeros(_GRAIN * torch.get_num_threads()).add_(1)  # large enough for all of them
        all_there.wait()
        over.wait()

    holders = [threading.Thread(target=hold, name="fgvc-crowd-team", daemon=True) for _ in range(count)]
    for holder in holders:
        holder.start()
    all_there.wait()
    try:
        yield
    finally:
        over.set()
        for holder in holders:
            holder.join()
