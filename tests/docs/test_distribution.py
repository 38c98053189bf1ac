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
    sdist, wheel = called(sys.executable, "-c", build, cwd=source).split()[-1:], list((source / "out").glob("*.whl"))
    assert wheel
    with zipfile.ZipFile(wheel[0]) as archive:
        inside = set(archive.namelist())
    files = [file.relative_to(ROOT).as_posix() for file in (ROOT / "fgvc_cli").rglob("*") if file.is_file()]
    assert {file for file in files if not file.endswith(".pyc") and file not in inside} == set()
    assert not [name for name in inside if name.startswith(("tests", "docs", "benchmarks"))]
    with tarfile.open(next((source / "out").glob("*.tar.gz"))) as archive:
        assert any(name.endswith("/fgvc_cli/py.typed") for name in archive.getnames())
    assert sdist
    place = tmp_path / "installed"
    called(
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), str(wheel[0]), cwd=tmp_path
    )
    beside = {"PYTHONPATH": str(place), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    where = called(sys.executable, "-c", "import fgvc_cli; print(fgvc_cli.__file__)", cwd=tmp_path, **beside)
    assert where.startswith(str(place))
    fgvc = (sys.executable, "-m", "fgvc_cli")
    small = ("--epochs", "1", "--limit-train", "48", "--limit-test", "24", "--out", "run")
    called(*fgvc, "train", "--method", "reaps", "--dataset", "demo", *small, cwd=tmp_path, **beside)
    called(*fgvc, "report", "run", cwd=tmp_path, **beside)
    assert "compare" in called(*fgvc, "suite", "show", cwd=tmp_path, **beside)
    page = "from fgvc_cli.serve.web import page; from importlib.resources import files; "
    page += "print(len(list((files('fgvc_cli.serve') / 'templates').iterdir())))"
    assert int(called(sys.executable, "-c", page, cwd=tmp_path, **beside)) > 0
