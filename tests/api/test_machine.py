"""What this machine can do, asked from a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fgvc_cli as fgvc
from fgvc_cli.bench import measure, photographs
from fgvc_cli.doctor import checks
from fgvc_cli.doctor.check import Check

QUICK = {"backbone": "tiny", "image_size": 64, "batch_size": 2, "device": "cpu", "rounds": 1, "steps": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_SINGLE_CALLS", 2)
    monkeypatch.setattr(photographs, "_DRAWN", 2)


def test_training_and_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags: dict[str, Any] = QUICK | {
        "method": "mc",
        "json": tmp_path / "all.json",
        "profile": tmp_path / "traces",
    }
    found = fgvc.benchmark("train", progress=False, **flags)
    assert capsys.readouterr() == ("", "")
    (comparison,) = found.comparisons
    plain, own = comparison.measured.rows
    assert (plain.name, own.name) == ("tiny alone", "mc")
    assert own.rate > 0
    assert (found.what, found.classes, found.rounds, found.short) == ("train", 12, 1, ())
    assert comparison.operations["mc"][0].calls > 0
    assert comparison.traces["mc"].is_file()
    assert json.loads((tmp_path / "all.json").read_text()) == json.loads(json.dumps(found.as_json()))


def test_inference_of_some_methods_and_loading(photos: Path) -> None:
    found = fgvc.benchmark("methods", methods=["mc"], set={"data.resize": 64}, **QUICK, progress=False)  # type: ignore[arg-type]
    assert [one.measured.what for one in found.comparisons] == ["train", "infer"]
    small = {"dataset": "folder", "data_dir": photos, "image_size": 32, "batch_size": 4, "workers": 0, "rounds": 1}
    loading = fgvc.benchmark("data", images=8, progress=False, **small).loading  # type: ignore[arg-type]
    assert loading is not None
    assert loading.images == 8
    assert all(rates.best > 0 for rates in loading.loaded.values())


def test_what_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    build = measure.build_way

    def short(case: Any, what: Any, device: Any) -> Any:
        if case.name == "mc":
            raise MemoryError
        return build(case, what, device)

    monkeypatch.setattr(measure, "build_way", short)
    found = fgvc.benchmark("train", method="mc", progress=False, **QUICK)  # type: ignore[arg-type]
    assert found.short == ("mc (train)",)


@pytest.mark.parametrize(
    ("what", "flags", "complaint"),
    [
        ("speed", {}, "speed cannot be measured: choose train, infer, methods or data"),
        ("infer", {"workers": 2}, "workers is no flag of a benchmark of infer"),
        ("train", {"rounds": 0}, "--rounds 0: give at least 1"),
        ("data", {"images": 1}, "--images 1: give at least 2"),
        ("methods", {"methods": ["nothing"]}, "no method is called 'nothing'"),
        ("infer", {"model": "x.onnx", "method": "mc"}, "leave --method out"),
        ("train", {"json": "/"}, "cannot write /: choose another --json"),
        ("train", {"dataset": "folder"}, "give the number of classes with --classes"),
    ],
    ids=str,
)
def test_what_cannot_be_measured(what: Any, flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(fgvc.BadRequest, match=complaint):
        fgvc.benchmark(what, progress=False, **flags)


def test_checks_are_given_as_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Check:
        raise OSError("no disk")

    monkeypatch.setattr(checks, "every_check", lambda: [("a", lambda: Check("a", "ok", "fine")), ("b", fails)])
    found = fgvc.check_machine()
    assert next(found) == Check("a", "ok", "fine")
    assert [(one.name, one.state) for one in found] == [("b", "broken")]
