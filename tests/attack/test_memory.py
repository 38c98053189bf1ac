"""Shared memory, memory and threads that do not suffice: told before the training, and told as what they are."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fgvc_cli.cli.main import explain
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loading.loader import _why_dead, make_loader
from fgvc_cli.errors import FgvcError
from fgvc_cli.machine import memory, threads
from tests.conftest import small_spec

MEBI = 1 << 20


@pytest.mark.parametrize(
    ("free", "wished", "expected"),
    [
        (None, 8, 8),
        (64 * MEBI, 8, 2),
        (64 * MEBI, 1, 1),
        (30 * MEBI, 8, 0),
        (0, 8, 0),
        (64 * MEBI, 0, 0),
        (10**12, 8, 8),
    ],
)
def test_workers_that_fit(free: int | None, wished: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "shared_memory", lambda: free)
    assert memory.workers_that_fit(wished, 16 * 448 * 448 * 3) == expected  # 9.2 MiB a batch


def test_a_loader_takes_fewer_and_says_so(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec(photos).data.model_copy(update={"workers": 4})
    index = load_index(spec)
    monkeypatch.setattr(memory, "shared_memory", lambda: 5 * 3 * 32 * 32 * 6)
    loader = make_loader(index, index.train, spec, batch_size=5, train=True)
    assert loader.workers == 2
    assert loader.notes == (f"2 worker processes, not 4, since no more batches fit: {memory.SHARED_MEMORY_FULL}",)
    monkeypatch.setattr(memory, "shared_memory", lambda: None)
    assert make_loader(index, index.train, spec, batch_size=5, train=True).notes == ()


def test_a_worker_that_the_system_killed() -> None:
    bus = (
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of"
    )
    assert _why_dead(bus) == memory.SHARED_MEMORY_FULL
    assert "--workers" in _why_dead("DataLoader worker (pid 7) is killed by signal: Killed.")
    assert explain(RuntimeError(bus))[0].endswith(memory.SHARED_MEMORY_FULL)


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(1 << 50, dtype=torch.uint8),
        lambda: np.zeros(1 << 50, dtype=np.uint8).fill(1),
        lambda: bytearray(1 << 50),
    ],
    ids=("PyTorch", "NumPy", "Python"),
)
def test_out_of_memory_on_the_cpu(allocate) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as error:
        allocate()
    assert explain(error.value) == (f"fgvc: {memory.OUT_OF_MEMORY}", 1)


def test_other_signs_of_it() -> None:
    for text in (
        "[Errno 12] Cannot allocate memory",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to use 9 bytes.",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ):
        assert explain(RuntimeError(text)) == (f"fgvc: {memory.OUT_OF_MEMORY}", 1)
    assert "ulimit" in explain(RuntimeError("can't start new thread"))[0]
    assert "odd" in explain(RuntimeError("odd"))[0]


def test_threads_that_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.check_threads(4)
    start, started = threading.Thread.start, []

    def refusing(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(FgvcError, match=r"the system allows 3 of 8 threads: use --set train\.threads=1, or raise"):
        threads.check_threads(8)
    assert not any(thread.is_alive() for thread in started)


def test_a_limit_of_address_space_is_no_traceback(photos: Path, tmp_path: Path) -> None:
    """With `ulimit -v` the threads of OpenMP, the copies of forked workers or a tensor fail: one line in each case."""
    config = tmp_path / "spec.json"
    config.write_text(small_spec(photos, "baseline", "train.epochs=1", "train.threads=64").model_dump_json())
    limit = 5 * 1024 * MEBI
    command = [sys.executable, "-m", "fgvc_cli", "train", "--config", str(config), "--out", str(tmp_path / "run")]
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert "Traceback" not in found.stderr
    assert "libgomp" not in found.stderr
    if found.returncode:
        assert found.stderr.splitlines()[-1].startswith("fgvc: ")
