"""Rows of an unfinished output: whatever ended the processes, each image has exactly one row in the end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.machine import distributed
from fgvc_cli.predict import unfinished, writing
from fgvc_cli.predict.answers import Answer, Answers, Failed, Guess
from fgvc_cli.predict.columns import Layout
from fgvc_cli.predict.rows import new_rows
from fgvc_cli.predict.unfinished import Unfinished
from fgvc_cli.predict.writing import write_answers
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console

PICTURES = [Picture(f"{place}\ud800.png", Path(f"{place}.png")) for place in range(23)]
ROWS = new_rows("json", [], ["wren"], Layout(1))
QUIET = Reporter(Console(quiet=True))


class Ended(BaseException):
    """What kill -9 is to a process."""


def answer(picture: Picture, mended: bool = True) -> Answer | Failed:
    if picture.file.stem.endswith("7") and not mended:
        return Failed(picture, "cut off")
    return Answer(picture, 3, 4, (Guess("wren", 0.25),), int(picture.file.stem) % 2 == 1, {})


def predict(output: Path, *, end_after: int = 99, mended: bool = True, about: dict[str, object] | None = None) -> int:
    """Predict in batches of 4; returns the number of images that were still to be predicted."""
    asked: list[int] = []

    def answers(chosen: Sequence[Picture]) -> Answers:
        asked.append(len(chosen))
        for batch, start in enumerate(range(0, len(chosen), 4)):
            if batch == end_after:
                raise Ended
            yield [answer(picture, mended) for picture in chosen[start : start + 4]]

    write_answers(answers, PICTURES, ROWS, output, about or {"top": 1}, QUIET)
    return asked[0]


def whole() -> str:
    return "".join(ROWS.lines(answer(picture)) for picture in PICTURES)


def test_each_image_has_one_row_whenever_it_was_ended(tmp_path: Path) -> None:
    output, dice, left = tmp_path / "a.jsonl", random.Random(0), []
    for _ in range(3):
        with pytest.raises(Ended):
            predict(output, end_after=1)
        log = max((tmp_path / "a.jsonl.unfinished").glob("*.rows"), key=lambda path: path.stat().st_mtime_ns)
        with log.open("r+b") as file:  # half of the last record was written
            file.truncate(log.stat().st_size - dice.randrange(1, 40))
        left.append(Unfinished(output, 23))
        left[-1].read()
    assert not output.exists()
    assert [len(one.missing()) for one in left] == [20, 17, 14]
    assert predict(output) == 14
    assert output.read_text(encoding="utf-8") == whole()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_damage_costs_the_rows_after_it_in_one_file_only(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    for _ in range(2):
        with pytest.raises(Ended):
            predict(output, end_after=2)
    log = min((tmp_path / "a.jsonl.unfinished").glob("*.rows"), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    assert 7 < predict(output) < 15
    assert output.read_text(encoding="utf-8") == whole()


def test_what_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with pytest.raises(Ended):
        predict(output, end_after=4, mended=False)
    assert predict(output, mended=True) == 23 - 16 + 1
    assert output.read_text(encoding="utf-8") == whole()


def test_ended_while_it_was_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.jsonl"

    def ended(*_: object) -> None:
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_atomically", ended)
        with pytest.raises(Ended):
            predict(output)
    assert predict(output) == 0
    assert output.read_text(encoding="utf-8") == whole()


def test_processes_have_shares_that_are_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other here; the first two find rows missing at the end, as the others have not come."""
    output = tmp_path / "a.jsonl"
    seen = []
    for rank in range(3):
        monkeypatch.setattr(writing, "world", lambda rank=rank: distributed.World(rank, 3))
        monkeypatch.setattr(Unfinished, "missing", lambda self: unfinished.np.arange(23))  # all looked at once
        if rank < 2:
            with pytest.raises(FgvcError, match="rows are lost: the same command computes them again"):
                predict(output)
            seen.append(len(list((tmp_path / "a.jsonl.unfinished").glob("*.rows"))))
        else:
            assert predict(output) == 8
    assert seen == [1, 2]
    assert output.read_text(encoding="utf-8") == whole()


def test_counts_are_of_all_rows(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with pytest.raises(Ended):
        predict(output, end_after=3)
    counts = write_answers(
        lambda chosen: (batch for batch in [[answer(one, False) for one in chosen]]),
        *(PICTURES, ROWS, output, {"top": 1}, QUIET),
    )
    assert str(counts) == "22 predicted, 10 of them unsure, 1 failed"


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with pytest.raises(Ended):
        predict(output, end_after=1)
    with pytest.raises(BadRequest, match=r"was begun with another top \(1, now 2\)"):
        predict(output, about={"top": 2})
    (tmp_path / "a.jsonl.unfinished/about.json").write_text("[")
    with pytest.raises(BadRequest, match="cannot be read: delete it"):
        predict(output)


def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl.unfinished"
    place.write_text("mine")
    with pytest.raises(BadRequest, match="is something else: move it, or give another --output"):
        predict(tmp_path / "a.jsonl")
    place.unlink()
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(BadRequest, match="is something else"):
        predict(tmp_path / "a.jsonl")
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def test_two_commands_at_a_time(tmp_path: Path) -> None:
    first, second = Unfinished(tmp_path / "a", 1), Unfinished(tmp_path / "a", 1)
    first.begin({})
    with pytest.raises(BadRequest, match="another process is writing"):
        second.begin({})
    first.remove()
    second.begin({})
