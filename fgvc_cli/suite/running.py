"""Run a suite's jobs, each in a process of its own: one that fails, or is killed, stops no other."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fgvc_cli.suite.places import Ended, Place, Watch, each
from fgvc_cli.suite.plan import Job, Plan

Tell = Callable[[Job, str], object]


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
