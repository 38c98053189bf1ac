"""fgvc bounds the spin of OpenMP's threads, in whatever way it is started, and computes the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgvc_cli.machine.spin import SPINS

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
LIBGOMPS_OWN = 300_000
SUMMARY = ("fgvc_cli", "summary", "--backbone", "tiny", "--image-size", "32")

only_libgomp = pytest.mark.skipif(sys.platform != "linux", reason="PyTorch's wheels have libgomp on Linux only")


def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python, in an environment that says nothing of OpenMP but this."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=True)


def spins(*arguments: str, **variables: str) -> list[int]:
    """What each libgomp says, as it is loaded, that it will do."""
    done = run(*arguments, OMP_DISPLAY_ENV="VERBOSE", **variables)
    return [int(count) for count in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)]


def variables(code: str, **given: str) -> list[str]:
    """The two variables after some code."""
    return run("-c", f"{code}; import os; print(*map(os.environ.get, {VARIABLES}))", **given).stdout.split()


def test_what_the_user_says_stands() -> None:
    assert variables("import fgvc_cli") == ["None", str(SPINS)]
    assert variables("import fgvc_cli", GOMP_SPINCOUNT="7") == ["None", "7"]
    assert variables("import fgvc_cli", OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE", "None"]


def test_nothing_is_said_when_it_is_too_late() -> None:
    assert variables("import torch, fgvc_cli") == ["None", "None"]


@only_libgomp
@pytest.mark.parametrize(
    "entry",
    [
        ("-c", "import fgvc_cli, torch"),
        ("-c", "import fgvc_cli.ops.boxes"),
        ("-c", f"import sys; sys.argv = {list(SUMMARY)}; from fgvc_cli.cli.main import main; main()"),  # script `fgvc`
        ("-m", *SUMMARY),
    ],
    ids=["import", "module", "script", "python -m"],
)
def test_every_way_in_has_it(entry) -> None:
    found = spins(*entry)
    assert found
    assert set(found) == {SPINS}


@only_libgomp
def test_processes_of_torchrun_have_it() -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert sorted(spins(*torchrun, "-m", *SUMMARY)) == [SPINS, SPINS, LIBGOMPS_OWN]  # the last is torchrun itself


@only_libgomp
def test_a_process_that_is_spawned_has_it() -> None:
    code = (
        "import fgvc_cli, multiprocessing as m; p = m.get_context('spawn').Process(target=__import__, args=('torch',))"
    )
    assert spins("-c", f"{code}; p.start(); p.join()") == [SPINS]


@only_libgomp
def test_these_tests_have_it() -> None:
    assert set(VARIABLES) & os.environ.keys()


def test_a_run_ends_with_the_same_weights(photos, tmp_path) -> None:
    flags = (
        f"--dataset folder --data-dir {photos} --backbone tiny --weights none --image-size 64 --epochs 2 --batch-size 8"
    )
    settings = "--device cpu --workers 0 --set train.threads=2"
    for name, count in {"libgomp": {"GOMP_SPINCOUNT": str(LIBGOMPS_OWN)}, "fgvc": {}}.items():
        run("-m", "fgvc_cli", "train", *flags.split(), *settings.split(), "--out", name, cwd=tmp_path, **count)
    libgomp, fgvc = (load_file(tmp_path / name / "model.safetensors") for name in ("libgomp", "fgvc"))
    assert libgomp.keys() == fgvc.keys()
    assert all(torch.equal(tensor, fgvc[name]) for name, tensor in libgomp.items())
