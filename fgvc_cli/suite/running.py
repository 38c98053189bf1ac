"""Run a suite's jobs, each in a process of its own: one that fails, or is killed, stops no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from fgvc_cli.errors import BadRequest
from fgvc_cli.suite.cluster import Cluster
from fgvc_cli.suite.places import Ended, Place, ThisMachine, Watch, each, visible_gpus
from fgvc_cli.suite.plan import Job, Plan, SuiteFile

Tell = Callable[[Job, str], object]


def place_of(
    file: SuiteFile, folder: Path, *, slurm: bool = False, one_by_one: bool = False, at_once: int = 1
) -> Place:
    """Where a suite's processes run: on a cluster, or on this machine, `at_once` on each GPU.

    BadRequest if the flags do not go together.
    """
    if at_once < 1:
        raise BadRequest(f"--at-once {at_once}: give at least 1")
    if one_by_one and at_once > 1:
        raise BadRequest("--one-by-one and --at-once: give one of them")
    if slurm:
        return Cluster(folder / "jobs", file.slurm)
    gpus = [] if one_by_one else visible_gpus()
    return ThisMachine(gpus if len(gpus) > 1 else (), at_once)


def command_of(job: Job) -> list[str]:
    """The command that starts the job, or continues what is there."""
    train = [sys.executable, "-m", "fgvc_cli", "train", *(["--no-test"] if job.split != "test" else [])]
    if job.run.spec_file.exists():
        return [*train, "--resume", str(job.folder)]
    return [*train, "--config", str(job.spec_file), "--out", str(job.folder)]


def run_all(plan: Plan, tell: Tell, place: Place) -> list[Job]:
    """Run what is not finished; the runs that failed.

    Args:
        plan: the suite.
        tell: called with a job and its state: `finished before`, `running`, `finished`, or the reason that it failed.
        place: where they run.
    """

    def one(job: Job) -> Job | None:
        if job.finished:
            tell(job, "finished before")
            return None
        ended = run_job(job, place, tell)
        return job if ended is not None and not job.finished else None

    return [job for job in each(place, plan.jobs, one) if job is not None]


def run_job(job: Job, place: Place, tell: Tell, watch: Watch = lambda: False) -> Ended | None:
    """Run one job to its end, or until `watch` is true; None if the place was stopped before it began."""
    ended = place.run(command_of(job), job.log, lambda where: tell(job, f"running{where}"), watch)
    if ended is not None:
        finished = ended.code == 0 and job.finished
        tell(job, "finished" if finished else f"failed: {ended.reason}")
    return ended
