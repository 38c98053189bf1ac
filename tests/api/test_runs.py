"""Training and measuring from Python: the flags are the commands', and the run is theirs."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import fgvc_cli as fgvc
from fgvc_cli.api.runs.evaluation import EvalFlags
from fgvc_cli.api.training import TrainFlags
from fgvc_cli.cli.commands import eval as evaluation
from fgvc_cli.cli.commands import train


def names(command: object) -> set[str]:
    return {"set" if name == "sets" else name for name in inspect.signature(command).parameters}  # type: ignore[arg-type]


def test_the_flags_are_those_of_the_commands() -> None:
    assert {*TrainFlags.__annotations__} == names(train.train) - {"dry_run"}  # which is `fgvc.estimate`
    assert {*EvalFlags.__annotations__} == names(evaluation.evaluate) - {"runs", "model", "json_only"}


def test_a_run_that_was_trained(trained: fgvc.Run, photos: Path) -> None:
    assert trained.name == "trained-run"
    assert trained.classes == ("blue", "green", "red")
    assert (trained.spec.method.name, trained.spec.data.root, trained.spec.data.resize) == ("baseline", photos, 36)
    assert [row["epoch"] for row in trained.epochs] == ["0", "1"]
    assert trained.measures.images == 9
    assert 0 <= trained.measures.branches.final.top1 <= 1
    assert trained.measures.calibration is not None
    assert fgvc.Run.newest(trained.folder.parent) == trained
    assert fgvc.Run.all(trained.folder.parent) == [trained]
    with pytest.raises(fgvc.FgvcError, match=r"eval/train.json: No such file"):
        trained.measured("train")


def test_measuring(trained: fgvc.Run, tmp_path: Path) -> None:
    found = trained.evaluate(split="val", per_class=True, out=str(tmp_path / "new"), progress=False)
    assert (found.split, len(found.per_class)) == ("val", 3)
    assert (tmp_path / "new/val.json").is_file()
    assert not (trained.folder / "eval/val.json").exists()
    assert fgvc.evaluate(trained, progress=False) == trained.measures
    assert fgvc.evaluate(str(trained.folder), split="test", progress=False) == trained.measures


def test_progress_is_told_or_not(trained: fgvc.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = fgvc.train(resume=trained.folder)
    assert again == trained
    out, err = capsys.readouterr()
    assert (out, "already trained and evaluated" in err) == ("", True)
    fgvc.train(resume=str(trained.folder), progress=False)
    assert capsys.readouterr() == ("", "")


def test_what_a_run_would_take(photos: Path, tmp_path: Path) -> None:
    flags = {"method": "baseline", "dataset": "folder", "backbone": "tiny", "weights": "none", "image_size": 32}
    found = fgvc.estimate(data_dir=photos, out=tmp_path / "x", device="cpu", set="data.resize=36", **flags)  # type: ignore[arg-type]
    assert found.memory.weights > 0
    assert not (tmp_path / "x").exists()


def test_a_page_and_a_file_of_a_run(trained: fgvc.Run, photos: Path, tmp_path: Path) -> None:
    assert trained.report(tmp_path / "x.html", sample=0, progress=False).file == tmp_path / "x.html"
    with pytest.raises(fgvc.BadRequest, match="already exists"):
        trained.report(tmp_path / "x.html", sample=0, progress=False)
    trained.report(str(tmp_path / "x.html"), beside=[trained], sample=0, force=True, split="test", progress=False)
    with pytest.raises(fgvc.BadRequest, match="sprit is no flag of report: did you mean split"):
        trained.report(sprit="val")
    file = trained.export(tmp_path / "x.safetensors", format="safetensors", images=[photos], progress=False)
    assert fgvc.load(file.file).classes == trained.classes
    with pytest.raises(fgvc.BadRequest, match="--format x: choose onnx"):
        trained.export(format="x")


def test_classes_that_are_learnt_and_forgotten(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = {"backbone": "tiny", "weights": "none", "image_size": 32, "workers": 0, "device": "cpu", "progress": False}
    sets = {"method.head": "prototype", "data.resize": 36}
    out = tmp_path / "probe"
    run = fgvc.train(method="probe", dataset="folder", data_dir=photos, out=out, set=sets, **flags)  # type: ignore[arg-type]
    grey = [np.full((40, 40, 3), value, np.uint8) for value in (90, 128, 140)]
    assert run.enroll("grey", grey) == 4
    assert "grey" in run.load().classes
    assert run.forget("grey") == 3
    with pytest.raises(fgvc.BadRequest, match="has no class 'grey'"):
        run.forget("grey")
    suggested = run.load().suggest([*fgvc.images(photos / "test/red"), *grey], count=2)
    assert [one.uncertainty >= 0 for one in suggested] == [True, True]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"metod": "reaps"}, r"metod is no flag of fgvc.train: did you mean method\?"),
        ({"method": "nothing"}, "nothing"),
        ({"epochs": 0}, "train.epochs: must be"),
        ({"set": {"data.nothing": 1}}, "data.nothing"),
        ({"dataset": "folder", "data_dir": "nowhere", "weights": "none"}, "nowhere"),
        ({"resume": "nowhere"}, "there is no run at nowhere"),
        ({"resume": "x", "epochs": 3}, "a resumed run keeps its spec: leave --epochs out"),
    ],
    ids=str,
)
def test_flags_that_are_wrong(
    flags: dict[str, object], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fgvc.BadRequest, match=complaint):
        fgvc.train(progress=False, **flags)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_measuring_what_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fgvc.BadRequest, match="there is no run at nowhere"):
        fgvc.evaluate("nowhere")
    with pytest.raises(fgvc.BadRequest, match="no trained run under runs/"):
        fgvc.evaluate()
    with pytest.raises(fgvc.BadRequest, match="no run was named"):
        fgvc.evaluate([])
    with pytest.raises(fgvc.BadRequest, match=r"--set-coverage 1: give a share from 0 to 0\.9999"):
        fgvc.evaluate("nowhere", set_coverage=1)
    with pytest.raises(fgvc.BadRequest, match=r"there is no run at"):
        fgvc.Run(tmp_path / "nowhere")
    with pytest.raises(fgvc.BadRequest, match=r"splt is no flag of fgvc.evaluate: did you mean split\?"):
        fgvc.evaluate(tmp_path, splt="val")  # type: ignore[call-arg]


def test_a_run_is_the_path_of_its_folder(trained: fgvc.Run) -> None:
    assert Path(trained) == trained.folder
    assert fgvc.load(trained).run == trained == fgvc.Run(trained)
