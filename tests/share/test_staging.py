"""Nothing that is sent names the sender's machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fgvc_cli as fgvc
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.share.staging import finished as measured
from fgvc_cli.share.staging import stage, without_places
from fgvc_cli.spec.build import build_spec


def test_paths_in_settings() -> None:
    spec = build_spec(
        method="baseline",
        dataset="folder",
        flags={
            "data.root": "/home/maria/photos",
            "data.train_dir": "/home/maria/photos/a",
            "data.test_dir": "b",
            "data.group_by": "csv:/home/maria/groups.csv:bird",
            "data.taxonomy": "/home/maria/tree.csv",
            "data.label_fixes": "/home/maria/fixes.csv",
            "data.leave_out": "/home/maria/left.txt",
            "backbone.weights": "/home/maria/runs/secret",
        },
    )
    bare = without_places(spec)
    assert "maria" not in bare.model_dump_json()
    assert (bare.data.root, bare.data.train_dir, bare.data.test_dir) == (None, Path("a"), Path("b"))
    assert (bare.data.group_by, bare.data.taxonomy) == ("csv:groups.csv:bird", Path("tree.csv"))
    assert (bare.data.leave_out, bare.backbone.weights) == ("left.txt", "secret")
    assert bare.method == spec.method


def test_paths_in_measures(finished: fgvc.Run, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(finished.folder, tmp_path / "run"))
    file = run.evaluation_file("test")
    scores = {"auroc": 1, "fpr95": 0, "accepted": 1, "rejected": 1, "open_set_accuracy": 1, "validation": 1}
    about = {"images": 1, "what": "/home/maria/cats", "default": "energy", "recall": 0.95, "scores": {"energy": scores}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"unknown": about}))
    (tmp_path / "staged").mkdir()
    stage(run, measured(run), tmp_path / "staged")
    sent = json.loads((tmp_path / "staged/eval/test.json").read_text())
    assert (sent["unknown"]["what"], sent["run"]) == ("cats", "run")
    assert str(tmp_path) not in json.dumps(sent)
