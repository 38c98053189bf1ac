"""What is installed from a wheel works without the checkout, and holds what is no Python."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


def called(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readme_s_command_runs_from_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    called("git", "clone", "-q", str(ROOT), str(source), cwd=tmp_path)
    build = "import setuptools.build_meta as b; print(b.build_sdist('out')); print(b.build_wheel('out'))"
    (source / "out").mkdir()
    called(sys.executable, "-c", build, cwd=source)
    wheel = next((source / "out").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    files = {file.relative_to(source).as_posix() for file in (source / "fgvc_cli").rglob("*") if file.is_file()}
    assert files - inside == set()
    assert not [name for name in inside if name.startswith(("tests", "docs", "benchmarks"))]
    with tarfile.open(next((source / "out").glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert files - packed == set()
    place = tmp_path / "installed"
    called(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), str(wheel), cwd=tmp_path)
    beside = {"PYTHONPATH": str(place), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    where = called(sys.executable, "-c", "import fgvc_cli; print(fgvc_cli.__file__)", cwd=tmp_path, **beside)
    assert where.startswith(str(place))
    fgvc = (sys.executable, "-m", "fgvc_cli")
    small = ("--epochs", "1", "--limit-train", "48", "--limit-test", "24", "--out", "run")
    called(*fgvc, "train", "--method", "reaps", "--dataset", "demo", *small, cwd=tmp_path, **beside)
    called(*fgvc, "report", "run", cwd=tmp_path, **beside)
    assert "compare" in called(*fgvc, "suite", "show", cwd=tmp_path, **beside)
