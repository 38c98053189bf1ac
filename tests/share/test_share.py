"""A model that is sent to the hub, taken from it, and used: the same answers, and nothing of the sender's machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import fgvc_cli as fgvc
from fgvc_cli.data.facts import CATALOG
from tests.share.stub import TOKEN, Hub

SENT = {
    "README.md",
    "model.safetensors",
    "run.json",
    "classes.json",
    "calibration.json",
    "validation.safetensors",
    "unknown.safetensors",
    "environment.json",
    "eval/test.json",
    "eval/test-classes.csv",
    "eval/test-confusion.csv",
    "why.png",
}


def test_there_and_back(hub: Hub, finished: fgvc.Run, photos: Path, tmp_path: Path) -> None:
    bird = photos / "test/red/0.png"
    address = finished.push("maria/colours", private=True, picture=[bird], licence="apache-2.0", progress=False)
    assert address == f"{hub.endpoint}/maria/colours"
    sent = hub.files["maria/colours"]
    assert {*sent} == SENT
    assert hub.private == {"maria/colours"}
    for name, content in sent.items():
        for place in (str(photos), str(finished.folder.parent)):
            assert place.encode() not in content, name
    asked = {"min_confidence": 0.4, "set_coverage": 0.5, "unknown": True}
    here = finished.load().predict(bird, **asked)  # type: ignore[arg-type]
    run = fgvc.pull("maria/colours", progress=False)
    assert run.folder == Path("runs/colours")
    for model in (run.load(), fgvc.load("hf://maria/colours"), fgvc.load("hf://maria/colours@main")):
        there = model.predict(bird, **asked)  # type: ignore[arg-type]
        assert (there.top, there.boxes, there.choices, there.known) == (here.top, here.boxes, here.choices, here.known)
        assert model.name == "colours"
    assert run.measures.branches == finished.measures.branches
    assert run.spec.data.root is None
    assert run.report(tmp_path / "x.html", sample=0, progress=False).file.is_file()


def test_the_card(hub: Hub, finished: fgvc.Run, photos: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    pictures = [photos / "test/red/0.png", photos / "test/blue/0.png"]
    out = finished.push("maria/colours", picture=pictures, licence="mit", out=tmp_path / "x", progress=False)
    card = ModelCard.load(Path(out) / "README.md")
    about = card.data
    assert (about.library_name, about.pipeline_tag, about.license) == ("fgvc", "image-classification", "mit")
    top1 = next(one for one in about.eval_results if one.metric_name == "top-1")
    final = finished.measures.branches.final
    assert (top1.metric_type, top1.dataset_split, top1.metric_value) == ("accuracy", "test", round(final.top1, 6))
    text = card.text
    assert "Region Attending and Part Sequencing" in text
    assert 'fgvc.load("hf://maria/colours")' in text
    assert f"| top\\-1 | {100 * final.top1:.2f} % | " in text.replace("top-1", "top\\-1")
    for heading in ("How to use it", "Data", "Method", "Measures", "Calibration", "Known confusions", "Why", "Limits"):
        assert f"## {heading}" in text
    assert finished.measures.confusions[0].true in text
    with Image.open(Path(out) / "why.png") as picture:
        assert picture.size[1] > 300  # two rows
    assert not hub.asked


def test_without_pictures_the_card_says_nothing_of_them(
    hub: Hub, finished: fgvc.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.push("maria/colours", out=tmp_path / "x")
    assert "name some that you may publish" in capsys.readouterr().err
    assert "Why it decides" not in (tmp_path / "x/README.md").read_text()
    assert not (tmp_path / "x/why.png").exists()
    with pytest.raises(fgvc.BadRequest, match="x exists: give a new folder"):
        finished.push("maria/colours", out=tmp_path / "x")


def test_data_that_are_free_are_shown_without_being_named(
    hub: Hub, finished: fgvc.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name, facts in CATALOG.items() if facts.free] == ["demo"]  # drawn by fgvc
    monkeypatch.setitem(CATALOG, "folder", replace(CATALOG["folder"], free=True))
    finished.push("maria/colours", out=tmp_path / "x", progress=False)
    assert "What the model looked at in 4 images" in (tmp_path / "x/README.md").read_text()
    assert (tmp_path / "x/why.png").is_file()


def test_names_of_classes_are_no_markdown(hub: Hub, finished: fgvc.Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished.folder, tmp_path / "run")
    file = tmp_path / "run/eval/test.json"
    tree = json.loads(file.read_text())
    odd = "a|b <script>\n# c"
    tree["confusions"] = [{"true": "red", "predicted": "blue", "images": 1, "share": 0.5}]
    file.write_text(json.dumps(tree))
    from fgvc_cli.share.card import _plain

    assert _plain(odd) == r"a\|b &lt;script&gt; \# c"
    fgvc.Run(tmp_path / "run").push("maria/colours", out=tmp_path / "x", progress=False)
    assert "| red | blue | 1 | 50.00 % |" in (tmp_path / "x/README.md").read_text()


def test_the_hub_is_asked_once_for_a_model_and_not_at_all_offline(
    hub: Hub, finished: fgvc.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.push("maria/colours", progress=False)
    fgvc.load("hf://maria/colours")
    hub.asked.clear()
    fgvc.load("hf://maria/colours")
    assert hub.asked == ["GET api/models/maria/colours"]
    hub.hangs = True
    assert fgvc.load("hf://maria/colours").name == "colours"
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fgvc.load("hf://maria/colours").name == "colours"
    with pytest.raises(fgvc.FgvcError, match=r"maria/other: offline mode is on: unset HF_HUB_OFFLINE .* used offl"):
        fgvc.load("hf://maria/other")
    assert TOKEN not in capsys.readouterr().err


def test_the_commands(hub: Hub, finished: fgvc.Run, photos: Path, tmp_path: Path) -> None:
    home = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_ETAG_TIMEOUT": "5"}

    def fgvc_says(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fgvc_cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **home}, timeout=120)

    done = fgvc_says("push", finished.folder, "maria/colours", "--picture", photos / "test/red/0.png")
    assert (done.returncode, done.stdout) == (0, f"{hub.endpoint}/maria/colours\n"), done.stderr
    done = fgvc_says("predict", photos / "test/red", "--run", "hf://maria/colours", "--format", "json")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3), done.stderr
    assert done.stderr.startswith("colours: reaps, 3 classes")
