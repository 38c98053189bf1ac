"""Beside busy processes OpenMP's threads sleep at once; alone they spin as they are told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fgvc_cli.machine import crowd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what other processes do is read from /proc/stat")

TEAMS = """
import time, torch
from fgvc_cli.machine.crowd import second_team
torch.set_num_threads(max(2, len(__import__("os").sched_getaffinity(0))))
numbers = torch.zeros(1 << 22)

def spun():
    numbers.add_(1)
    before = time.process_time()
    time.sleep(0.3)
    print(time.process_time() - before > 0.05)

spun()
for _ in range(2):
    with second_team():
        spun()
    spun()
"""

WATCH = """
import sys, threading
from fgvc_cli.machine import crowd
import torch
torch.set_num_threads(2)
crowd.yield_to_others()
crowd.yield_to_others()
print(sum(thread.name == "fgvc-crowd" for thread in threading.enumerate()))
"""


def python(code: str, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one core threads never spin")
def test_with_a_second_team_no_thread_spins() -> None:
    """A thread told to spin for as good as ever, while the one that it waits for does nothing."""
    assert python(TEAMS, GOMP_SPINCOUNT="1000000000") == ["True", "False", "True", "False", "True"]


def test_it_watches_once_unless_the_user_says_how_threads_wait() -> None:
    assert python(WATCH) == ["1"]
    assert python(WATCH, GOMP_SPINCOUNT="7") == ["0"]
    assert python(WATCH, OMP_WAIT_POLICY="passive") == ["0"]
    assert python(WATCH.replace("threads(2)", "threads(1)")) == ["0"]


def test_what_others_take_is_seen_and_what_this_process_takes_is_not() -> None:
    cores = os.sched_getaffinity(0)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(crowd.cores_of_others(cores, 0.3) for _ in range(5)) > 0.4
    finally:
        busy.kill()
        busy.wait()
    assert min(crowd.cores_of_others(set(), 0.05) for _ in range(3)) <= 0  # no core, nothing taken


@pytest.mark.parametrize(
    ("looks", "spans"),
    [
        ([0.1, 0.2, 0.0], []),
        ([0.1, 0.9, 0.0, 0.1, 0.0, 0.1, 0.0], [(2, 6)]),
        ([0.9, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0], [(1, 8)]),
    ],
    ids=["room", "one busy moment", "again before it is calm"],
)
def test_a_team_lives_from_the_first_busy_look_to_the_last_of_some_calm_ones(looks, spans, monkeypatch) -> None:
    class Over(Exception):
        pass

    seen, found, opened = 0, [], []

    def look(cores: set[int], seconds: float) -> float:
        nonlocal seen
        if seen == len(looks):
            raise Over
        seen += 1
        return looks[seen - 1]

    class Team:
        def __enter__(self) -> None:
            opened.append(seen)

        def __exit__(self, *error: object) -> None:
            found.append((opened.pop(), seen))

    monkeypatch.setattr(crowd, "cores_of_others", look)
    monkeypatch.setattr(crowd, "second_team", Team)
    with pytest.raises(Over):
        crowd._watch(len(os.sched_getaffinity(0)))
    assert found == spans
