from __future__ import annotations

import csv
import io

from fgvc_cli.runs.journal import MetricsFile, read_metrics


def rows_of(path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_rows_read_back_exactly_and_columns_may_grow(tmp_path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.append({"epoch": 0, "train_loss": 1 / 3})
    file.append({"epoch": 1, "train_loss": 0.25, "val_top1": 0.5})
    rows = rows_of(file.path)
    assert float(rows[0]["train_loss"]) == 1 / 3
    assert [row["val_top1"] for row in rows] == ["", "0.5"]


def test_resuming_cuts_what_was_not_kept(tmp_path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    for epoch in range(4):
        file.append({"epoch": epoch, "train_loss": epoch})
    again = MetricsFile(file.path)
    again.cut(2)
    again.append({"epoch": 2, "train_loss": 9})
    assert [row["epoch"] for row in rows_of(file.path)] == ["0", "1", "2"]
    assert rows_of(file.path)[2]["train_loss"] == "9"


def test_what_can_be_read_of_a_damaged_file(tmp_path) -> None:
    file = tmp_path / "metrics.csv"
    assert read_metrics(file)[0] == []
    assert "no epoch has been finished" in read_metrics(file)[1][0]
    file.write_text("epoch,train_loss,val_top1\n0,2.5,\n1,nan,0.5\nx,1,1\n3,1.25,0.75,9,9\n2,0.5\n2,0.25,0.125\n")
    rows, problems = read_metrics(file)
    assert rows == [
        {"epoch": 0, "train_loss": 2.5},
        {"epoch": 1, "val_top1": 0.5},
        {"epoch": 2, "train_loss": 0.25, "val_top1": 0.125},
        {"epoch": 3, "train_loss": 1.25, "val_top1": 0.75},
    ]
    assert problems == ["metrics.csv is damaged: 3 of its 6 rows have values that are not numbers"]
    file.write_bytes(b"\xff\xfe\x00")
    rows, problems = read_metrics(file)
    assert (rows, len(problems)) == ([], 1)


def test_a_whole_file_has_nothing_wrong(tmp_path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.append({"epoch": 0, "train_loss": 1 / 3})
    file.append({"epoch": 1, "train_loss": 0.25, "val_top1": 0.5})
    rows = [{"epoch": 0, "train_loss": 1 / 3}, {"epoch": 1, "train_loss": 0.25, "val_top1": 0.5}]
    assert read_metrics(file.path) == (rows, [])
