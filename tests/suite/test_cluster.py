"""Runs as jobs of a cluster: with programs in the place of Slurm's, and as processes of this machine."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("submitit")

from fgvc_cli.errors import BadRequest
from fgvc_cli.suite import cluster as module
from fgvc_cli.suite.cluster import Cluster
from fgvc_cli.suite.places import Ended

SBATCH = r"""#!/bin/sh
echo "$@" >> "$0.asked"
for file; do :; done
number=4711
export SLURM_JOB_ID=$number SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
(sh "$file" > "$0.said" 2>&1; echo COMPLETED > "$0.state") >/dev/null 2>&1 &
echo "Submitted batch job $number"
"""
SRUN = r"""#!/bin/sh
while [ "${1#-}" != "$1" ]; do case "$1" in --output|--error) shift 2 ;; *) shift ;; esac; done
exec "$@"
"""
SACCT = r"""#!/bin/sh
here=$(dirname "$0")
state=$(cat "$here/sbatch.state" 2>/dev/null || echo RUNNING)
printf 'JobID|State|NodeList\n4711|%s|here\n' "$state"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs by the names of Slurm's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS", 0.1)
    return folder


def says(text: str, code: int) -> list[str]:
    return [sys.executable, "-c", f"import sys, time; time.sleep(0.3); print('{text}'); sys.exit({code})"]


def test_a_job_of_slurm_and_the_same_job_after_a_stop(slurm: Path, tmp_path: Path) -> None:
    settings = {"timeout_min": 5, "slurm_partition": "birds"}
    log, told = tmp_path / "row" / "seed-0.log", []
    first = Cluster(tmp_path / "jobs", settings)
    threading.Timer(0.5, first.stop).start()
    slow = [sys.executable, "-c", "import time; time.sleep(2); print('fgvc: trained'); raise SystemExit(1)"]
    assert first.run(slow, log, told.append, lambda: False) is None, "waited for after the stop"
    again = Cluster(tmp_path / "jobs", settings)
    assert again.run(slow, log, told.append, lambda: False) == Ended(1, "trained")
    assert told == [" as job 4711"] * 2
    assert len((slurm / "sbatch.asked").read_text().splitlines()) == 1, "submitted twice"
    assert "--partition=birds" in next((tmp_path / "jobs").glob("*submission*.sh")).read_text()
    assert not log.with_suffix(".job").exists()


def test_processes_of_this_machine_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS", 0.1)
    place = Cluster(tmp_path / "jobs", {"timeout_min": 5}, "local")
    assert place.run(says("done", 0), tmp_path / "log", lambda _: None, lambda: False) == Ended(0, "done")


def test_settings_that_it_has_not(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="the cluster's settings: "):
        Cluster(tmp_path, {"colour": "red"}, "local")


def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadRequest, match="slurm cluster"):
        Cluster(tmp_path, {})
