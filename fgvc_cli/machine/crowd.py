"""While other processes need the cores, OpenMP's threads sleep at once instead of spinning.

No count suits both a quiet machine, where a thread that sleeps is slow to wake, and a busy one, where a thread that
spins keeps the one it waits for from getting a core. libgomp knows this: once it counts more of its threads than there
are cores they spin 100 rounds at most (manual of libgomp, GOMP_SPINCOUNT). What it does not see are other processes.
So while those are busy a second team of threads exists, which never does anything but be counted.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fgvc_cli.machine.spin import spin_is_ours

_SECONDS = 0.25  # between two looks
_PART = 0.3  # of a core that the threads are short of: what the rest of a desktop takes is less
_CALM = 4  # looks in a row that find room, until threads spin again
_GRAIN = 32768  # elements that PyTorch gives a thread at least


@functools.cache
def yield_to_others() -> None:
    """Begin to watch, once a process, unless threads have nobody to wait for or the user has said how they wait."""
    threads = torch.get_num_threads()
    if sys.platform == "linux" and threads > 1 and spin_is_ours():
        threading.Thread(target=_watch, args=(threads,), name="fgvc-crowd", daemon=True).start()


def cores_of_others(cores: set[int], seconds: float) -> float:
    """How many of these cores other processes keep busy, over so many seconds. Reads /proc/stat."""
    before, started = busy_seconds(cores) - time.process_time(), time.monotonic()
    time.sleep(seconds)
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


def _watch(threads: int) -> None:
    cores = os.sched_getaffinity(0)
    room = len(cores) - threads + _PART
    while True:
        while cores_of_others(cores, _SECONDS) <= room:
            pass
        with second_team():
            calm = 0
            while calm < _CALM:
                calm = calm + 1 if cores_of_others(cores, _SECONDS) <= room else 0


@contextmanager
def second_team() -> Iterator[None]:
    """Another team of as many threads, asleep. It belongs to the thread that asks for it and ends with it."""
    there, over = threading.Event(), threading.Event()

    def hold() -> None:
        torch.zeros(_GRAIN * torch.get_num_threads()).add_(1)  # large enough for all of them
        there.set()
        over.wait()

    holder = threading.Thread(target=hold, name="fgvc-crowd-team", daemon=True)
    holder.start()
    there.wait()
    try:
        yield
    finally:
        over.set()
        holder.join()
