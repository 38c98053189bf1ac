"""CSV in a spreadsheet, leftovers of killed commands, and predictions on a full disk."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.csv_text import csv_text, harmless, original
from fgvc_cli.data.types import Split
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation import confusion
from fgvc_cli.evaluation.metrics import Predicted
from fgvc_cli.evaluation.predictions import read_predictions, write_predictions
from fgvc_cli.files import TEMPORARY, remove_leftovers, write_atomically, write_folder_atomically, write_text
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.answers import Answer, Answers, Failed, FoundBox, Guess
from fgvc_cli.predict.columns import Layout
from fgvc_cli.predict.rows import new_rows
from fgvc_cli.predict.writing import write_answers
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console
from tests.conftest import disk_of

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "=cmd|' /C calc'!A0", "'=1", "''@x"]
PLAIN = ["wren", "'quoted'", "a=b", "1-2", "'", "", " =1", "鳥", '"=1"']
CLASSES = ("=1+1", "-wren", "'=1+1", "robin")


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN])
def test_text_is_harmless_and_reads_back(text: str) -> None:
    assert original(harmless(text)) == text
    assert harmless(text)[:1] not in (*"=+-@\t\r\n＝",)
    assert (harmless(text) == text) == (text in PLAIN)
    rows = list(csv.reader(io.StringIO(csv_text([text], [[text, -1, -0.5]]), newline="")))
    assert [list(map(original, row)) for row in rows] == [[text], [text, "-1", "-0.5"]]


def predicted() -> Predicted:
    return Predicted(
        index=np.arange(4),
        labels=np.array([0, 1, 2, 3]),
        classes=np.array([0, 2, 2, 0]),
        confidence=np.array([0.5, 0.25, 1.0, 0.75]),
        calibrated=np.array([0.5, 0.25, 1.0, 0.75]),
    )


@pytest.mark.parametrize("dense", [1000, 2])
def test_tables_of_an_evaluation(dense: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion, "DENSE_CLASSES", dense)
    whole = confusion.Confusion.of(CLASSES, predicted())
    whole.write(tmp_path / "confusion.csv")
    again = confusion.Confusion.read(tmp_path / "confusion.csv", CLASSES)
    assert (again.dense() == whole.dense()).all()
    rows = [{"class": name, "images": 1, "precision": 0.5, "recall": None, "f1": 1e-7} for name in CLASSES]
    confusion.write_classes(tmp_path / "classes.csv", rows)
    assert confusion.read_classes(tmp_path / "classes.csv") == rows
    files = ("=1.png", "@x/y.png", "'=1.png", "a.png")
    write_predictions(tmp_path / "predictions.csv", Split(files, np.arange(4)), CLASSES, predicted())
    read = read_predictions(tmp_path / "predictions.csv")
    assert [(row.image, row.true) for row in read] == list(zip(files, CLASSES, strict=True))
    for file in tmp_path.iterdir():
        with file.open(newline="") as stream:
            assert not [cell for row in csv.reader(stream) for cell in row if cell[:1] in ("=", "+", "-", "@")], file


def test_what_predict_writes() -> None:
    boxes = {"p3": (FoundBox((-3.0, -2.0, 9.0, 9.0), 0.5),)}
    answer = Answer(Picture("=a.png", Path("=a.png")), 3, 4, (Guess("-wren", 0.5), Guess("@x", 0.4)), False, boxes)
    rows = new_rows("csv", ["=a.png"], ["-wren", "@x"], Layout(2, boxes=dict.fromkeys(boxes, 1)))
    text = rows.head + rows.lines(answer) + rows.lines(Failed(Picture("+b.png", Path("+b.png")), "-"))
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert [first[key] for key in ("image", "answer", "class_1", "class_2")] == ["'=a.png", "'-wren", "'-wren", "'@x"]
    assert first["p3_1_x0"] == "-3.00"  # a number is no formula
    assert (second["image"], second["error"]) == ("'+b.png", "'-")


# ---- leftovers

HOLD = """
import sys, time
from pathlib import Path
from fgvc_cli.files import write_atomically, write_folder_atomically
def hold(path):
    print(path, flush=True)
    time.sleep(60)
{write}(Path(sys.argv[1]), hold)
"""


def writer(path: Path, write: str) -> subprocess.Popen[str]:
    """A process in the middle of writing `path`."""
    command = [sys.executable, "-c", HOLD.format(write=write), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert TEMPORARY in process.stdout.readline()
    return process


@pytest.mark.parametrize("write", ["write_atomically", "write_folder_atomically"])
def test_leftovers_of_killed_commands_alone_are_swept(write: str, tmp_path: Path) -> None:
    killed, alive = writer(tmp_path / "a", write), writer(tmp_path / "b", write)
    try:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        (tmp_path / f"{TEMPORARY}old").write_text("as earlier versions left them")
        assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 3
        write_text(tmp_path / "c", "done")
        assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 1
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 1
        assert alive.poll() is None
    finally:
        for process in (killed, alive):
            process.kill()
            process.communicate()


def test_what_is_written_has_the_name_the_mode_and_no_leftover(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", lambda path: path.write_text("x"))
        write_folder_atomically(tmp_path / "folder", lambda path: (path / "inner").write_text("y"))
    finally:
        os.umask(old)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder", "folder/inner")]
    assert modes == [0o640, 0o750, 0o640]
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "file", lambda path: path.write_text(str(1 / 0)))
    assert (tmp_path / "file").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 2


def test_many_processes_write_beside_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fgvc_cli.files import remove_leftovers, write_text\n"
        "for i in range(200): remove_leftovers(Path(sys.argv[1])); write_text(Path(sys.argv[1]) / 'x', sys.argv[2])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(i)]) for i in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


# ---- a full disk


def test_predict_keeps_the_rows_so_far_on_a_full_disk(tmp_path: Path) -> None:
    pictures = [Picture(f"{place:04d}.png", Path(f"{place:04d}.png")) for place in range(1500)]
    asked: list[int] = []

    def answers(chosen: Sequence[Picture], disk: Path | None) -> Answers:
        asked.append(len(chosen))
        for start in range(0, len(chosen), 500):
            batch = chosen[start : start + 500]
            yield [Answer(picture, 3, 4, (Guess("wren", 1.0),), False, {}) for picture in batch]
            if start == 0 and disk is not None:
                room = os.statvfs(disk)
                (disk / "filler").write_bytes(bytes((room.f_bavail - 1) * room.f_frsize))

    file = io.StringIO()
    reporter = Reporter(Console(file=file, width=200))
    with disk_of(tmp_path / "disk", mebibytes=1) as disk:
        rows, out = new_rows("csv", [], ["wren"], Layout(1)), disk / "out.csv"
        with pytest.raises(FgvcError, match="the disk is full"):
            write_answers(lambda chosen: answers(chosen, disk), pictures, rows, out, {}, reporter)
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "out.csv.unfinished"]
        (disk / "filler").unlink()
        write_answers(lambda chosen: answers(chosen, None), pictures, rows, out, {}, reporter)
        assert [path.name for path in disk.iterdir()] == ["out.csv"]
        lines = out.read_text().splitlines()[1:]
    assert [line[:8] for line in lines] == [picture.name for picture in pictures]
    assert asked[0] == 1500
    assert asked[1] <= 1000
    assert "the predictions so far are kept in" in file.getvalue()
