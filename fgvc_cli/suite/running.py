"""Run a suite's jobs, each in a process of its own: one that fails, or is killed, stops no other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from fgvc_cli.suite.plan import Job, Plan

Tell = Callable[[Job, str], object]


def command_of(job: Job) -> list[str]:
    """The command that starts the job, or continues what is there."""
    train = [sys.executable, "-m", "fgvc_cli", "train"]
    if job.run.spec_file.exists():
        return [*train, "--resume", str(job.folder)]
    return [*train, "--config", str(job.spec_file), "--out", str(job.folder)]


def run_all(plan: Plan, tell: Tell, devices: Sequence[str] = ()) -> list[Job]:
    """Run what is not finished; the runs that failed.

    Args:
        plan: the suite.
        tell: called with a job and its state: `finished before`, `running`, `finished`, or the reason that it failed.
        devices: GPUs by number; that many jobs run at once, each on one. None: one after the other.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for device in devices or ("",):
        free.put(device)
    stop = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def one(job: Job) -> Job | None:
        if job.finished:
            tell(job, "finished before")
            return None
        device = free.get()
        try:
            return None if stop.is_set() else _run(job, device, tell, running)
        finally:
            free.put(device)

    with ThreadPoolExecutor(max(len(devices), 1)) as pool:
        waiting = [pool.submit(one, job) for job in plan.jobs]
        try:
            failed = [done for future in waiting if (done := future.result()) is not None]
        except BaseException:
            stop.set()  # the runs finish their step and leave a checkpoint
            for process in running:
                process.terminate()
            raise
    return failed


def _run(job: Job, device: str, tell: Tell, running: list[subprocess.Popen[bytes]]) -> Job | None:
    """Run one job to its end; the job if it failed."""
    tell(job, "running" if not device else f"running on GPU {device}")
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": device} if device else {})
    with job.log.open("ab") as log:
        start = log.tell()
        # In its own session: after a terminal's Ctrl-C our signal would be its second, which ends it at once.
        process = subprocess.Popen(
            command_of(job), stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        running.append(process)
        code = process.wait()
        running.remove(process)
    if code == 0 and job.finished:
        tell(job, "finished")
        return None
    tell(job, f"failed: {_last_line(job, start) or f'exit code {code}'}")
    return job


def _last_line(job: Job, start: int) -> str:
    """The last line that the job has said."""
    with job.log.open("rb") as log:
        log.seek(start)
        lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("fgvc: ") if lines else ""


def visible_gpus() -> list[str]:
    """The numbers of this machine's GPUs, by which processes are given one."""
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return listed.split(",")[:count] if listed else [str(number) for number in range(count)]
