"""What there is, from a program: methods, presets, datasets and their downloads, suites."""

from __future__ import annotations

from pathlib import Path

import pytest

import fgvc_cli as fgvc
from fgvc_cli.errors import FgvcError
from fgvc_cli.suite.plan import shipped
from tests.data.download.conftest import server  # noqa: F401
from tests.data.download.official import serve_cub
from tests.data.download.server import Files


def test_methods_presets_and_suites() -> None:
    assert fgvc.catalog.methods()["reaps"].title
    preset = fgvc.catalog.presets()["reaps-cub"]
    assert (preset.spec.method.name, preset.spec.data.dataset) == ("reaps", "cub")
    assert preset.title == preset.about[0]
    assert all(one.published for one in fgvc.catalog.presets().values())
    assert list(fgvc.catalog.suites()) == shipped()
    assert fgvc.catalog.suites()["compare"].rows


def test_what_a_method_costs() -> None:
    found = fgvc.catalog.summary(method="mc", backbone="tiny", image_size=32, classes=5, progress=False)
    assert (found.spec.method.name, found.classes) == ("mc", 5)
    assert found.counted.parameters == sum(module.parameters for module in found.counted.modules)
    with pytest.raises(fgvc.BadRequest, match="give the number of classes with --classes"):
        fgvc.catalog.summary(dataset="folder", progress=False)


def test_datasets(tmp_path: Path) -> None:
    found = fgvc.catalog.datasets(tmp_path)
    cub, demo = found["cub"], found["demo"]
    assert (cub.name, cub.folder, cub.state, cub.fetched, cub.downloadable) == ("cub", None, None, 0, True)
    assert cub.facts.classes == 200
    assert cub.size is not None
    assert (demo.downloadable, demo.size, demo.by_hand) == (False, None, False)
    assert found["cars"].by_hand


def test_download_and_verify(
    server: Files,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve_cub(server, monkeypatch, tmp_path / "made")
    with pytest.raises(fgvc.BadRequest, match=r"cub: .*: if you accept this licence, add yes=True"):
        fgvc.catalog.download("cub", root=tmp_path / "data")
    here = fgvc.catalog.download("cub", yes=True, root=tmp_path / "data", progress=False)
    assert here.whole
    assert capsys.readouterr() == ("", "")
    assert fgvc.catalog.datasets(tmp_path / "data")["cub"].folder == here.folder
    verdict = fgvc.catalog.verify("cub", root=tmp_path / "data", hashes=True, progress=False)
    assert (verdict.problems, verdict.doubts) == ((), ())
    next(here.folder.rglob("*.jpg")).unlink()
    assert fgvc.catalog.verify("cub", root=tmp_path / "data", progress=False).problems


def test_what_cannot_be_downloaded(tmp_path: Path) -> None:
    for name, complaint in (("cubs", "no dataset is called 'cubs'"), ("demo", "demo cannot be downloaded")):
        with pytest.raises(fgvc.BadRequest, match=complaint):
            fgvc.catalog.download(name, yes=True)
        with pytest.raises(fgvc.BadRequest, match=complaint):
            fgvc.catalog.verify(name)
    with pytest.raises(fgvc.BadRequest, match="--mini is for inat2021 only"):
        fgvc.catalog.download("cub", yes=True, mini=True)
    with pytest.raises(fgvc.BadRequest, match="not found: no"):
        fgvc.catalog.verify("cub", root=tmp_path)
    with pytest.raises(FgvcError):
        fgvc.catalog.download("cub", root=tmp_path, offline=True, progress=False)
