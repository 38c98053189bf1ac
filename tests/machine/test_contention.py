"""Beside busy processes OpenMP's threads sleep at once; alone they spin as they are told."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Event

import pytest

from fgvc_cli.machine import contention

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what other processes do is read from /proc/stat")

TEAMS = """
import os, time, torch
from fgvc_cli.machine.contention import more_teams, teams_for
cores = len(os.sched_getaffinity(0))
torch.set_num_threads(max(2, cores // 2))
numbers = torch.zeros(1 << 22)

def spun():
    numbers.add_(1)
    before, ends = time.process_time(), time.monotonic() + 3
    while time.monotonic() < ends and time.process_time() - before < 0.05:
        time.sleep(0.1)  # on a crowded machine even one that spins gets a core only now and then
    print(time.process_time() - before >= 0.05)

spun()
for _ in range(2):
    with more_teams(teams_for(cores, torch.get_num_threads())):
        spun()
    spun()
"""

SAME = """
import torch
from fgvc_cli.machine.contention import more_teams
torch.set_num_threads(2)
images, layer = torch.randn(8, 16, 40, 40), torch.nn.Conv2d(16, 32, 3)

def gradients():
    layer.zero_grad()
    torch.nn.functional.batch_norm(layer(images), None, None, training=True).relu().square().sum().backward()
    return [weight.grad.clone() for weight in layer.parameters()]

alone = gradients()
with more_teams(2):
    print(all(torch.equal(*pair) for pair in zip(alone, gradients(), strict=True)))
"""

WATCH = """
import sys, threading
from fgvc_cli.machine import contention
import torch
torch.set_num_threads(max(2, contention.os.cpu_count()))
contention.yield_to_others()
contention.yield_to_others()
print(sum(thread.name == "fgvc-contention" for thread in threading.enumerate()))
"""


VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def python(code: str, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one core threads never spin")
def test_with_more_teams_no_thread_spins() -> None:
    """A thread told to spin for as good as ever, while the one that it waits for does nothing."""
    assert python(TEAMS, GOMP_SPINCOUNT="1000000000") == ["True", "False", "True", "False", "True"]


def test_results_stay_the_same_to_the_bit() -> None:
    assert python(SAME) == ["True"]


def test_it_watches_once_unless_the_user_says_how_threads_wait() -> None:
    assert python(WATCH) == ["1"]
    assert python(WATCH, GOMP_SPINCOUNT="7") == ["0"]
    assert python(WATCH, OMP_WAIT_POLICY="passive") == ["0"]
    assert python(WATCH.replace("max(2,", "min(1,")) == ["0"]


@pytest.mark.parametrize(
    ("cores", "threads", "teams"), [(2, 2, 1), (8, 8, 1), (8, 4, 2), (8, 2, 7), (2, 4, 0), (2, 3, 0), (64, 63, 1)]
)
def test_there_are_as_few_teams_as_make_more_threads_than_cores(cores, threads, teams) -> None:
    assert contention.teams_for(cores, threads) == teams
    counted = [threads + count * (threads - 1) for count in (teams - 1, teams)]
    assert counted[1] > cores
    assert teams == 0 or counted[0] <= cores


def test_what_others_take_is_seen_and_what_this_process_takes_is_not() -> None:
    cores = os.sched_getaffinity(0)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(contention.cores_of_others(cores, Event(), 0.3) for _ in range(5)) > 0.4
    finally:
        busy.kill()
        busy.wait()
    assert min(contention.cores_of_others(set(), Event(), 0.05) for _ in range(3)) <= 0  # no core, nothing taken


@pytest.mark.parametrize(
    ("looks", "spans"),
    [
        ([0.1, 0.2, 0.0], []),
        ([0.1, 0.9, 0.0, 0.1, 0.0, 0.1, 0.0], [(2, 6)]),
        ([0.9, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0], [(1, 8)]),
        ([0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.9], [(1, 5), (7, 8)]),
    ],
    ids=["room", "one busy moment", "again before it is calm", "twice, and the process ends"],
)
def test_a_team_lives_from_the_first_busy_look_to_the_last_of_some_calm_ones(looks, spans, monkeypatch) -> None:
    seen, found, opened = 0, [], []

    def look(cores: set[int], over: Event) -> float:
        nonlocal seen
        seen += 1
        if seen == len(looks):
            over.set()
        return looks[seen - 1]

    class Team:
        def __enter__(self) -> None:
            opened.append(seen)

        def __exit__(self, *error: object) -> None:
            found.append((opened.pop(), seen))

    monkeypatch.setattr(contention, "cores_of_others", look)
    monkeypatch.setattr(contention, "more_teams", lambda count: Team())
    contention._watch({0, 1}, 2, Event())
    assert found == spans
