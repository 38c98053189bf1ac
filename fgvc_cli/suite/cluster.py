"""A suite's processes as jobs of a Slurm cluster, by submitit (extra `slurm`)."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import read_text, write_text
from fgvc_cli.suite.places import Ended, Watch, last_line

_SECONDS_BETWEEN_LOOKS = 2.0
_AT_ONCE = 256  # jobs that are waited for; the others are submitted as these end
_DEFAULTS = {"timeout_min": 24 * 60, "name": "fgvc"}


def logged(command: Sequence[str], log: str) -> int:
    """Run a command, what it says added to a file: what a job of the cluster does. Its exit code."""
    with Path(log).open("ab") as stream:
        return subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode


class Cluster:
    """Processes as jobs of a cluster.

    A job's number is kept beside its log: the same command, given again, waits for the jobs that are still there.

    Args:
        folder: of what the cluster writes of its jobs; all of its machines must see it.
        settings: submitit's parameters, such as timeout_min, slurm_partition, gpus_per_node, cpus_per_task, mem_gb.
        cluster: submitit's name of the kind: slurm, or local for processes of this machine.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], cluster: str = "slurm") -> None:
        self._submitit = _submitit()
        self.folder = folder.absolute()
        try:
            self._executor = self._submitit.AutoExecutor(folder=self.folder, cluster=cluster)
            self._executor.update_parameters(**(_DEFAULTS | dict(settings)))
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise BadRequest(f"the cluster's settings: {' '.join(str(error).split())}") from None
        self._kind = {"slurm": self._submitit.SlurmJob, "local": self._submitit.LocalJob}[cluster]
        self.slots = _AT_ONCE
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """Whether nothing is submitted any more."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Submit no more and wait for none; those submitted go on."""
        self._stop.set()

    def run(self, command: Sequence[str], log: Path, started: Callable[[str], object], watch: Watch) -> Ended | None:
        """As `Place.run`. None also if the place was stopped while the job went on."""
        if self.stopped:
            return None
        log.parent.mkdir(parents=True, exist_ok=True)
        start = log.stat().st_size if log.exists() else 0
        number = log.with_suffix(".job")
        job = self._job(command, log, number)
        started(f" as job {job.job_id}")
        while not job.done():
            if self._stop.wait(_SECONDS_BETWEEN_LOOKS):
                return None
            if watch():
                job.cancel()
                break
        number.unlink(missing_ok=True)
        return self._ended(job, log, start)

    def _job(self, command: Sequence[str], log: Path, number: Path) -> Any:
        """The job that is there already, or a new one."""
        with self._lock:
            with suppress(OSError):
                kept = self._kind(self.folder, read_text(number).strip())
                if not kept.done(force_check=True):
                    return kept
            try:
                job = self._executor.submit(logged, list(command), str(log.absolute()))
            except (OSError, subprocess.SubprocessError, self._submitit.core.utils.FailedJobError) as error:
                raise FgvcError(f"the cluster takes no job: {' '.join(str(error).split())}") from None
            write_text(number, f"{job.job_id}\n")
            return job

    def _ended(self, job: Any, log: Path, start: int) -> Ended:
        try:
            return Ended(int(job.result()), last_line(log, start) if log.exists() else "")
        except Exception as error:  # whatever the cluster says of a job that it has lost, killed or timed out
            return Ended(1, f"job {job.job_id} {job.state}: {' '.join(str(error).split())[:200]}")


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise FgvcError('a cluster needs submitit: pip install "fgvc[slurm]"') from None
    return submitit
