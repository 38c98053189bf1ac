"""A pipe, a socket or a device where a file is expected is refused; nothing waits for it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from fgvc_cli.data.catalog import cache_home
from fgvc_cli.data.download.unpack import unpack
from fgvc_cli.data.images.survey import KEPT_FROM, survey
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import copy_folder, open_regular, read_text
from fgvc_cli.runs.checkpoint import load_checkpoint
from fgvc_cli.runs.folder import RunFolder
from tests.cli.conftest import Answer
from tests.data.download.test_unpack import tree
from tests.making import mk, noise_jpeg

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
LIMIT = 60  # seconds


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A test that waits for a pipe fails instead."""

    def waited(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it waits for a special file")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def special(path: Path, kind: str) -> Path:
    """A pipe, a socket, or a link to a device that never ends or to one that has no end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end, tempfile.TemporaryDirectory(dir="/tmp") as short:
            end.bind(f"{short}/s")  # a socket's path may have about 100 bytes only
            Path(short, "s").rename(path)
    else:
        path.symlink_to(kind)
    return path


def refused(answer: Answer) -> None:
    """After any notes, one line says what is wrong."""
    *notes, line = answer.err.splitlines()
    assert answer.code == 2
    assert line.startswith("fgvc: ")
    assert not any(note.startswith(("fgvc", "Traceback")) for note in notes)
    assert "Error" not in line


KINDS = ("pipe", "socket", "/dev/zero", "/dev/ptmx")


@pytest.mark.parametrize("kind", [*KINDS, "/dev"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = special(tmp_path / "it", kind)
    for read in (open_regular, read_text):
        with pytest.raises(OSError, match=r"it is a (named pipe|socket|device), not a regular file|it is a folder"):
            read(path)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "x" * 300])
def test_a_name_that_no_file_can_have_is_an_os_error(name: str) -> None:
    with pytest.raises(OSError, match=r"name"):
        open_regular(name)


# ---- data


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_a_folder(tmp_path: Path, kind: str, command: Callable[..., Answer]) -> None:
    mk(tmp_path / "data", "a=3", "b=3")
    special(tmp_path / "data" / "a" / "x.jpg", kind)
    answer = command("train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--dry-run")
    refused(answer)
    assert "x.jpg: cannot be read (it is a" in answer.err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("--dataset", "csv", "--data-dir", "it"),
        ("--dataset", "folder", "--data-dir", "it"),
        ("--dataset", "folder", "--data-dir", "data", "--group-by", "csv:it:group"),
        ("--config", "it"),
        ("--dataset", "folder", "--data-dir", "data", "--weights", "it"),
    ],
    ids=" ".join,
)
def test_a_file_of_a_training(
    tmp_path: Path, kind: str, arguments: tuple[str, ...], command: Callable[..., Answer]
) -> None:
    mk(tmp_path / "data", "a=3", "b=3")
    special(tmp_path / "it", kind)
    own = ("--image-size", 32, "--backbone", "tiny", "--out", "run")
    answer = command("train", *arguments, *own)
    refused(answer)
    assert "it" in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights(tmp_path: Path, ending: str, command: Callable[..., Answer]) -> None:
    special(tmp_path / f"it{ending}", "pipe")
    answer = command("train", "--weights", f"it{ending}", "--out", "run")
    refused(answer)
    assert answer.err.endswith(f"it{ending} is not a regular file\n")


@pytest.mark.parametrize(
    ("dataset", "files"),
    [
        ("cub", ("images.txt", "classes.txt")),
        ("aircraft", ("data/variants.txt",)),
        ("inat2021", ("train_mini.json", "val.json")),
        ("cars", ("cars_annos.mat",)),
        ("flowers", ("imagelabels.mat", "setid.mat")),
        ("dogs", ("train_list.mat", "test_list.mat")),
    ],
)
def test_the_lists_of_a_dataset(
    tmp_path: Path, dataset: str, files: tuple[str, ...], command: Callable[..., Answer]
) -> None:
    for file in files:
        special(tmp_path / "data" / file, "pipe")
    for folder in ("images", "car_ims", "jpg", "Images", "train_mini", "val", "data/images"):
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
    answer = command("train", "--dataset", dataset, "--data-dir", "data", "--dry-run")
    refused(answer)


def test_the_cache_of_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    special(cache_home() / "images.sqlite", "pipe")
    assert survey("names", tmp_path, ["a"] * KEPT_FROM, lambda path: path.name) == ["a"] * KEPT_FROM


# ---- runs


RUN_FILES = ("run.json", "classes.json", "splits.json", "metrics.csv", "environment.json", "model.safetensors")


@pytest.mark.parametrize("file", [*RUN_FILES, "eval/test.json", "eval/test-confusion.csv", "eval/test-predictions.csv"])
def test_a_file_of_a_run(run: Path, file: str, command: Callable[..., Answer]) -> None:
    special(run / file, "pipe")
    for words in (
        ("runs", run.parent),
        ("eval", run),
        ("report", run, "--sample", 0, "-o", "page.html", "--force"),
        ("predict", run.parent, "--run", run),
        ("viz", "curves", run, "--out", "curves.png", "--force"),
        ("viz", "confusion", run, "--out", "confusion.png", "--force"),
        ("train", "--resume", run),
    ):
        answer = command(*words)
        assert answer.code in (0, 1, 2), words
        assert "Traceback" not in answer.err
        assert "OSError" not in answer.err


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_file_of_a_checkpoint(run: Path, file: str) -> None:
    folder = RunFolder(run)
    step = folder.checkpoint_steps()[-1]
    special(folder.checkpoint(step) / file, "pipe")
    with pytest.raises(FgvcError, match="it is a named pipe, not a regular file"):
        load_checkpoint(folder, step)


def test_predict(run: Path, tmp_path: Path, command: Callable[..., Answer]) -> None:
    noise_jpeg(tmp_path / "good.jpg")
    special(tmp_path / "it.jpg", "pipe")
    answer = command("predict", "it.jpg", "good.jpg", "--run", run)
    assert answer.code == 1
    assert "good.jpg" in answer.out
    assert "it is a named pipe" in answer.err


# ---- archives


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive(tmp_path: Path, kind: str) -> None:
    special(tmp_path / "x.tgz", kind)
    with pytest.raises(FgvcError, match="not a regular file"):
        unpack(tmp_path / "x.tgz", tmp_path / "data" / "home", ("images",))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_a_folder_to_install(tmp_path: Path, kind: str) -> None:
    special(tree(tmp_path / "from") / "images" / "x.jpg", kind)
    with pytest.raises(FgvcError, match=r"x\.jpg: it is a .*, not a regular file"):
        unpack(tmp_path / "from", tmp_path / "data" / "home", ("images",))
    assert not any((tmp_path / "data" / "home").iterdir())


def test_a_folder_with_links_to_itself_is_copied_once(tmp_path: Path) -> None:
    source = tmp_path / "from"
    for name in ("a", "b"):
        noise_jpeg(source / name / "x.jpg")
        for link, target in (("up", ".."), ("self", "."), ("whole", str(source)), ("b-from-here", "../b")):
            (source / name / link).symlink_to(target)
    (source / "loop").symlink_to("loop")
    (source / "loop").unlink()
    (source / "elsewhere").symlink_to(tmp_path / "other")
    noise_jpeg(tmp_path / "other" / "y.jpg")
    (tmp_path / "into").mkdir()
    passed = copy_folder(source, tmp_path / "into")
    copied = sorted(path.relative_to(tmp_path / "into") for path in (tmp_path / "into").rglob("*.jpg"))
    assert list(map(str, copied)) == ["a/x.jpg", "b/x.jpg", "elsewhere/y.jpg"]
    assert len(passed) == 8


def test_a_folder_may_hold_the_place_where_it_is_installed(tmp_path: Path) -> None:
    tree(tmp_path)
    unpack(tmp_path, tmp_path / "data" / "home", ("images",))
    assert (tmp_path / "data" / "home" / "images").is_dir()
    shutil.rmtree(tmp_path / "data")


def test_a_link_that_leads_nowhere_is_one_line(tmp_path: Path) -> None:
    (tree(tmp_path / "from") / "loop").symlink_to("loop")
    with pytest.raises((FgvcError, BadRequest), match="loop"):
        unpack(tmp_path / "from", tmp_path / "data" / "home", ("images",))
