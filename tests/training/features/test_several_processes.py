"""Two processes share the features, and the run is that of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import disk_of, small_spec

ONE = [sys.executable, "-m", "fgvc_cli"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fgvc_cli"]


def run(command: list[str], *arguments: str, cwd: Path, home: Path, code: int = 0) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(home)}
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_two_processes_fit_and_embed_what_one_does(photos, tmp_path) -> None:
    spec = small_spec(photos, "probe", "data.val_fraction=0.25", "train.threads=1", "train.eval_batch_size=4")
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    for name, command in (("one", ONE), ("two", TWO)):
        run(command, "train", "--config", "spec.json", "--out", name, cwd=tmp_path, home=tmp_path / f"cache-{name}")
        files = ("embed", str(photos / "test"), "--model", "one", "--out", f"{name}.npz")
        run(command, *files, cwd=tmp_path, home=tmp_path / f"again-{name}")
    assert len(list((tmp_path / "cache-two").glob("fgvc/features/*/*.rows"))) >= 2  # both have computed
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=1e-4) for name in one)
    results = [json.loads((tmp_path / name / "eval/test.json").read_text()) for name in ("one", "two")]
    assert results[0]["branches"] == results[1]["branches"]
    assert results[0]["retrieval"] == pytest.approx(results[1]["retrieval"])
    vectors = [np.load(tmp_path / f"{name}.npz")["embedding"] for name in ("one", "two")]
    assert np.allclose(*vectors, atol=1e-5)


def test_a_full_disk_is_one_line_and_what_is_kept_is_sound(photos, tmp_path) -> None:
    with disk_of(tmp_path / "small", 1) as home:
        filler = home / "filler"
        filler.write_bytes(b"x" * (1024 - 16) * 1024)
        spec = small_spec(photos, "probe", "train.eval_batch_size=4")
        (tmp_path / "spec.json").write_text(spec.model_dump_json())
        told = run(ONE, "train", "--config", "spec.json", "--out", "run", cwd=tmp_path, home=home, code=1)
        assert "Traceback" not in told
        assert "No space left" in told or "disk is full" in told, told
        filler.unlink()
        run(ONE, "train", "--resume", "run", cwd=tmp_path, home=home)
