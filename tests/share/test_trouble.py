"""What hinders sharing is one line that says what to do, and never a token."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import fgvc_cli as fgvc
from tests.share.stub import TOKEN, Hub

Content = dict[str, bytes]


@pytest.fixture(scope="module")
def content(finished: fgvc.Run, tmp_path_factory: pytest.TempPathFactory) -> Content:
    """The files of a shared model."""
    folder = tmp_path_factory.mktemp("staged") / "x"
    finished.push("maria/colours", out=folder, progress=False)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def line_of(call: Callable[[], object], kind: type[fgvc.FgvcError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value).exit_code == kind.exit_code
    (line,) = caught.value.args
    assert TOKEN not in line
    assert "\n" not in line
    assert len(line) < 500
    return str(line)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (
            401,
            fgvc.BadRequest,
            "or it is private: check the name; for what is yours, log in",
        ),
        (403, fgvc.BadRequest, "the hub says that you may not read maria/colours"),
        (404, fgvc.BadRequest, "the hub has no maria/colours, or it is private"),
        (429, fgvc.FgvcError, "too many requests"),
        (500, fgvc.FgvcError, "the hub failed (it answered 500): try again later"),
    ],
)
def test_a_hub_that_refuses(hub: Hub, status: int, kind: type[fgvc.FgvcError], said: str) -> None:
    hub.status = status
    assert said in line_of(lambda: fgvc.load("hf://maria/colours"), kind)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, fgvc.BadRequest, "the hub does not know who you are: log in with `hf auth login`, or set HF_TOKEN"),
        (403, fgvc.BadRequest, "the hub says that you may not write to maria/colours: use a token that may"),
        (404, fgvc.BadRequest, "the hub has no place for maria/colours: check the owner's name"),
        (500, fgvc.FgvcError, "the hub failed (it answered 500)"),
    ],
)
def test_a_hub_that_takes_nothing(
    hub: Hub, finished: fgvc.Run, status: int, kind: type[fgvc.FgvcError], said: str
) -> None:
    hub.status = status
    assert said in line_of(lambda: finished.push("maria/colours", progress=False), kind)


def test_a_token_that_the_hub_does_not_know(hub: Hub, finished: fgvc.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_anotherAnotherAnother")
    line = line_of(lambda: finished.push("maria/colours", progress=False), fgvc.BadRequest)
    assert "does not know who you are" in line
    assert "hf_another" not in line


def test_a_hub_that_does_not_answer(hub: Hub, finished: fgvc.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    hub.hangs = True
    line = line_of(lambda: fgvc.load("hf://maria/colours"), fgvc.FgvcError)
    assert "does not answer (nothing came for 0.1 s): check the connection, try again" in line
    assert "does not answer" in line_of(lambda: finished.push("maria/colours", progress=False), fgvc.FgvcError)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    line = line_of(lambda: fgvc.pull("maria/colours", progress=False), fgvc.FgvcError)
    assert "the hub at http://127.0.0.1:9 does not answer" in line
    assert "what is fetched once can be used offline" in line


@pytest.mark.parametrize("name", ["colours", "maria/", "/colours", "a/b/c", "../x", "a/b@", ""])
def test_names_that_are_none(hub: Hub, finished: fgvc.Run, name: str) -> None:
    for call in (lambda: fgvc.pull(name), lambda: fgvc.load(f"hf://{name}"), lambda: finished.push(name)):
        assert "is no name on the hub: give OWNER/NAME" in line_of(call, fgvc.BadRequest)
    assert not hub.asked


def test_runs_that_are_not_finished(hub: Hub, finished: fgvc.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run/eval/test.json").unlink()
    line = line_of(lambda: fgvc.Run(tmp_path / "run").push("maria/colours"), fgvc.BadRequest)
    assert "is not finished: " in line
    assert "`fgvc train --resume " in line
    (tmp_path / "run/model.safetensors").unlink()
    line = line_of(lambda: fgvc.Run(tmp_path / "run").push("maria/colours"), fgvc.BadRequest)
    assert "it has no model yet" in line
    assert "there is no run at" in line_of(lambda: fgvc.Run(tmp_path / "gone").push("maria/colours"), fgvc.BadRequest)
    line = line_of(lambda: finished.push("maria/colours@v1"), fgvc.BadRequest)
    assert "leave @v1 out" in line
    line = line_of(lambda: finished.push("maria/colours", picture=["gone.png"]), fgvc.BadRequest)
    assert "gone.png: there is no such file" in line
    assert not hub.asked


def with_metadata(content: Content, about: object) -> bytes:
    """The model's file with another text in its metadata."""
    model = content["model.safetensors"]
    size = int.from_bytes(model[:8], "little")
    header = json.loads(model[8 : 8 + size])
    header["__metadata__"] = {"fgvc": about if isinstance(about, str) else json.dumps(about)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + model[8 + size :]


HOSTILE: dict[str, tuple[Callable[[Content], Content], str]] = {
    "a pickle alone": (
        lambda files: {"pytorch_model.bin": pickle.dumps(Path), "config.json": b"{}"},
        "it has no model.safetensors; pytorch_model.bin may hold code, and such files are never opened",
    ),
    "a pickle in disguise": (
        lambda files: files | {"model.safetensors": pickle.dumps(Path)},
        "is not a model saved by",
    ),
    "nothing": (lambda files: {"README.md": b""}, "it has no model.safetensors"),
    "no classes": (lambda files: {k: v for k, v in files.items() if k != "classes.json"}, "it has no classes.json"),
    "deep JSON": (lambda files: files | {"run.json": b"[" * 500_000}, "run.json: it is not valid JSON"),
    "no JSON": (lambda files: files | {"classes.json": b"\xff\xfe"}, "classes.json"),
    "another form": (lambda files: files | {"run.json": b'{"schema_version": 1, "x": 2}'}, "run.json: x: "),
    "a newer form": (lambda files: files | {"run.json": b'{"schema_version": 99}'}, "schema version 99"),
    "other classes": (lambda files: files | {"classes.json": b'["a"]'}, "is of another model than model.safetensors"),
    "wrong measures": (lambda files: files | {"eval/test.json": b'{"run": 3}'}, "eval/test.json: run: "),
    "metadata that is none": (
        lambda files: files | {"model.safetensors": with_metadata(files, "[[")},
        "model.safetensors is not a model saved by fgvc",
    ),
    "metadata of another form": (
        lambda files: files | {"model.safetensors": with_metadata(files, {"classes": ["a"], "epoch": 1})},
        "spec",
    ),
    "weights that do not end": (
        lambda files: files | {"model.safetensors": (2**62).to_bytes(8, "little") + b"{"},
        "is not a model saved by fgvc, or it is damaged",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_model(hub: Hub, content: Content, kind: str, tmp_path: Path) -> None:
    change, said = HOSTILE[kind]
    hub.files["mallory/x"] = change(dict(content))
    line = line_of(lambda: fgvc.pull("mallory/x", tmp_path / "out", progress=False), fgvc.BadRequest)
    assert line.startswith("hf://mallory/x is no model of fgvc: ")
    assert said in line
    assert str(tmp_path) not in line
    assert not (tmp_path / "out").exists()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.parent.name != "refs"]


def test_a_large_file_is_not_even_fetched(hub: Hub, content: Content) -> None:
    hub.files["mallory/x"] = dict(content)
    hub.claimed["run.json"] = 10**12
    line = line_of(lambda: fgvc.load("hf://mallory/x"), fgvc.BadRequest)
    assert "run.json has 1,000,000,000,000 bytes, and 1,048,576 are the most" in line
    assert hub.asked == ["GET api/models/mallory/x"]
    hub.claimed.clear()
    hub.files["mallory/x"]["run.json"] = b" " * (1 << 20) + content["run.json"]
    hub.claimed["run.json"] = 5  # a lie
    assert "run.json" in line_of(lambda: fgvc.load("hf://mallory/x"), fgvc.BadRequest)


def test_other_files_stay_on_the_hub(
    hub: Hub, content: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"../../evil.py": b"x", "/etc/passwd": b"x", "weights.pkl": pickle.dumps(Path), "eval/../run.json": b"x"}
    hub.files["mallory/x"] = content | odd
    run = fgvc.pull("mallory/x", tmp_path / "out")
    assert (
        "left on the hub, as fgvc needs none of it: ../../evil.py, /etc/passwd, eval/../run.json"
        in capsys.readouterr().err
    )
    there = {file.relative_to(run.folder).as_posix() for file in run.folder.rglob("*") if file.is_file()}
    assert there == {*content} - {"README.md", "why.png"}
    assert not any(file.is_symlink() for file in run.folder.rglob("*"))
    assert not [path for path in hub.asked if any(name in path for name in ("evil", "passwd", "pkl"))]


def test_links_in_a_folder_that_was_handed_over(content: Content, tmp_path: Path) -> None:
    from fgvc_cli.share.contents import check_folder

    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    check_folder(tmp_path, "x")
    (tmp_path / "classes.json").unlink()
    (tmp_path / "classes.json").symlink_to("/etc/passwd")
    line = line_of(lambda: check_folder(tmp_path, "x"), fgvc.BadRequest)
    assert line == "x is no model of fgvc: classes.json is no regular file"


def test_a_network_that_a_stranger_names(hub: Hub, content: Content) -> None:
    about = json.loads(json.loads(content["model.safetensors"][8:].split(b'"fgvc":', 1)[1].split(b'},"', 1)[0]))
    spec = about["spec"]
    for name in ("timm:hf-hub:mallory/x", "timm:local-dir:/tmp", "timm:nothing"):
        spec["backbone"]["name"] = name
        hub.files["mallory/x"] = content | {"model.safetensors": with_metadata(content, about)}
        hub.files["mallory/x"]["run.json"] = json.dumps(spec).encode()
        line = line_of(lambda: fgvc.load("hf://mallory/x"), fgvc.BadRequest)
        assert "timm has no model called" in line
        assert not [path for path in hub.asked if "resolve/main" in path]


def test_folders_that_cannot_be_used(hub: Hub, content: Content, tmp_path: Path) -> None:
    hub.files["maria/colours"] = dict(content)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    line = line_of(lambda: fgvc.pull("maria/colours", tmp_path / "full"), fgvc.BadRequest)
    assert "full exists and is not a run folder" in line
    line = line_of(lambda: fgvc.pull("maria/colours", "/proc/x/y", progress=False), fgvc.FgvcError)
    assert "cannot write /proc/x/y" in line


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, finished: fgvc.Run) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    line = line_of(lambda: fgvc.load("hf://maria/colours"), fgvc.BadRequest)
    assert line == "the hub needs the package huggingface_hub: pip install 'fgvc[hub]'"
