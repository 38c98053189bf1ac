"""The table of a suite that is running."""

from __future__ import annotations

import io
from pathlib import Path

from fgvc_cli.spec.flags import spec_of_row
from fgvc_cli.suite.board import Board, progress
from fgvc_cli.suite.plan import Plan, plan, read_suite
from fgvc_cli.terminal import Console

SUITE = 'seeds = [0, 1]\n[defaults]\nepochs = 4\nmethod = "baseline"\n[[rows]]\nname = "a"\n[[rows]]\nname = "b"'


def planned(folder: Path) -> Plan:
    return plan(read_suite(SUITE, "s.toml"), folder, {}, spec_of_row)


def text_of(board: Board) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(board.table())
    return console.file.getvalue()


def test_a_terminal_has_a_table_and_lines_of_failures_alone(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    made = planned(tmp_path)
    board = Board(made, console)
    first, second, third, _ = made.jobs
    board(first, "finished before")
    board(second, "failed: no such photos")
    board(third, "running on GPU 1")
    assert console.file.getvalue().strip() == "[1/4] a, seed 1: failed: no such photos"
    table = text_of(board)
    assert "1/2, 1 failed" in table
    assert "seed 0 on GPU 1" in table
    assert table.index(" b ") < table.index(" a "), "rows that run come first"


def test_elsewhere_every_state_is_a_line(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    made = planned(tmp_path)
    board = Board(made, console)
    with board.shown():
        board(made.jobs[0], "running")
        board(made.jobs[0], "finished")
    assert console.file.getvalue() == "[0/4] a, seed 0: running\n[1/4] a, seed 0: finished\n"


def test_a_row_has_the_epoch_and_the_time_left(tmp_path: Path) -> None:
    job = planned(tmp_path).jobs[0]
    assert progress(job) == ["1/4", "", ""]
    job.folder.mkdir(parents=True)
    job.run.metrics_file.write_text("epoch,seconds,train_loss,val_top1\n0,60,1.5,0.25\n1,120,1.25,0.5\n")
    assert progress(job) == ["3/4", "3 min", "validation 50.0 %"]


def test_more_rows_than_the_terminal_is_high(tmp_path: Path) -> None:
    board = Board(planned(tmp_path), Console(file=io.StringIO(), force_terminal=True, width=100, height=13))
    assert "and 1 more rows" in text_of(board)
