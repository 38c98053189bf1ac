"""Answers as text: what other programs read back, and what a reader sees."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from fgvc_cli.csv_text import original
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.predict.answers import Answer, Failed, FoundBox, Guess
from fgvc_cli.predict.columns import Layout
from fgvc_cli.predict.rows import new_rows
from fgvc_cli.predict.rules import Known, Taxon

ODD = ['a, "b".jpg', "two\nlines.png", "鳥.png", "caf\udce9.png", "=1+1.png", " x .png"]


def answer(name: str = "a.png", *, unsure: bool = False, boxes: bool = False) -> Answer:
    guesses = (Guess("Elm, finch", 0.75), Guess("鳥", 0.1234567))
    found = {"p3": (FoundBox((1, 2.126, 30.5, 4), 0.5), None), "zoom": (FoundBox((0, 0, 9, 9), 1),)} if boxes else {}
    return Answer(Picture(name, Path(name)), 30, 40, guesses, unsure, found)


def failed(name: str = "bad.png") -> Failed:
    return Failed(Picture(name, Path(name)), 'is, "no" image')


def text(format: str, *rows: Answer | Failed, top: int = 2) -> str:
    names = [row.picture.name for row in rows]
    boxes = {"p3": 2, "zoom": 1} if any(isinstance(row, Answer) and row.boxes for row in rows) else {}
    writer = new_rows(format, names, ["Elm, finch", "鳥"], Layout(top, boxes=boxes))
    return "".join(writer.document(map(writer.lines, rows)))


def test_json_lines_by_hand() -> None:
    lines = text("json", answer(boxes=True), failed(), answer(unsure=True)).splitlines()
    assert json.loads(lines[0]) == {
        "image": "a.png",
        "width": 40,
        "height": 30,
        "answer": "Elm, finch",
        "unsure": False,
        "top": [{"class": "Elm, finch", "probability": 0.75}, {"class": "鳥", "probability": 0.123457}],
        "boxes": {
            "p3": [{"xyxy": [1, 2.13, 30.5, 4], "score": 0.5}],
            "zoom": [{"xyxy": [0, 0, 9, 9], "score": 1}],
        },
    }
    assert json.loads(lines[1]) == {"image": "bad.png", "error": 'is, "no" image'}
    last = json.loads(lines[2])
    assert (last["answer"], last["unsure"], last["top"][0]["class"]) == ("unsure", True, "Elm, finch")
    assert "boxes" not in last


def test_a_class_called_like_a_word_of_the_answer_is_told_from_it() -> None:
    """It may be called unsure, or as a box is shown in the table."""
    guesses = (Guess("unsure", 0.5), Guess("box ran", 0.25), Guess("'unsure'", 0.2), Guess("wren", 0.05))
    sure, unsure = (Answer(Picture("a.png", Path("a.png")), 30, 40, guesses, flag) for flag in (False, True))
    names = [guess.name for guess in guesses]

    def rows(format: str) -> list[str]:
        writer = new_rows(format, ["a.png"], names, Layout(4))
        return "".join(writer.document(map(writer.lines, (sure, unsure)))).splitlines()

    read = [[(row["answer"], row["unsure"]) for row in map(json.loads, rows("json"))]]
    read.append([(row["answer"], row["unsure"]) for row in csv.DictReader(rows("csv"))])
    assert read == [[("unsure", False), ("unsure", True)], [("unsure", "false"), ("unsure", "true")]]
    shown = [line[7:19].strip() for line in rows("table")]
    quoted = ["'unsure'", "'box ran'", "''unsure''", "wren"]
    assert shown == ["answer", *quoted, "unsure", *quoted]


@pytest.mark.parametrize("name", ODD)
def test_any_file_name_comes_back(name: str) -> None:
    """As bytes, since a name may hold what is no text: it is then the escape that JSON itself has."""
    encoded = text("json", answer(name)).encode("utf-8", "backslashreplace")
    assert encoded.count(b"\n") == 1
    assert json.loads(encoded)["image"] == name
    encoded = text("csv", answer(name), failed(name)).encode("utf-8", "backslashreplace")
    rows = list(csv.DictReader(io.StringIO(encoded.decode(), newline="")))
    assert [original(row["image"]) for row in rows] == [name.replace("\udce9", "\\udce9")] * 2
    assert [line.count("\n") for line in text("table", answer(name)).splitlines(keepends=True)] == [1, 1, 1]


def test_csv_by_hand() -> None:
    found = text("csv", failed(), answer(boxes=True), answer(unsure=True, boxes=True), failed())
    header, *rows = csv.reader(io.StringIO(found, newline=""))
    corners = ["x0", "y0", "x1", "y1", "score"]
    assert header == [
        *("image", "width", "height", "answer", "unsure", "class_1", "probability_1", "class_2", "probability_2"),
        *(f"{box}_{corner}" for box in ("p3_1", "p3_2", "zoom_1") for corner in corners),
        "error",
    ]
    assert all(len(row) == len(header) for row in rows)
    bad = ["bad.png", *[""] * (len(header) - 2), 'is, "no" image']
    start = ["a.png", "40", "30", "Elm, finch", "false", "Elm, finch", "0.750000", "鳥", "0.123457"]
    boxes = ["1.00", "2.13", "30.50", "4.00", "0.500000", *[""] * 5, "0.00", "0.00", "9.00", "9.00", "1.000000"]
    assert rows == [bad, [*start, *boxes, ""], [*start[:3], "unsure", "true", *start[5:], *boxes, ""], bad]


def test_csv_of_failures_alone_is_whole() -> None:
    header, *rows = csv.reader(io.StringIO(text("csv", failed(), failed(), top=1)))
    assert header == ["image", "width", "height", "answer", "unsure", "class_1", "probability_1", "error"]
    assert rows == [["bad.png", "", "", "", "", "", "", 'is, "no" image']] * 2
    assert len(text("csv").splitlines()) == 1


def test_parquet_has_the_columns_of_csv_with_their_types(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow.parquet")
    about = (Known(True, 0.5, 0.25, "energy"), Taxon("Elmidae", "family", 0.875), True, ("Elm, finch", "鳥"))
    odd = Answer(Picture("caf\udce9.png", Path("x")), 3, 4, (Guess("\udce9lm", 1),), False, {}, (), *about)
    layout = Layout(2, known=True, taxon=True, sets=True, boxes={"p3": 2, "zoom": 1}, neighbours=1)
    given = [failed("=x.png"), answer(boxes=True), odd]
    writers = {format: new_rows(format, [], [], layout) for format in ("csv", "parquet")}
    for format, writer in writers.items():
        writer.save(tmp_path / f"a.{format}", map(writer.lines, given))
    table = arrow.read_table(tmp_path / "a.parquet")
    header, *rows = csv.reader(io.StringIO((tmp_path / "a.csv").read_text(errors="replace"), newline=""))
    assert table.column_names == header
    bad, boxed, whole = table.to_pylist()
    assert {name for name, value in bad.items() if value is not None} == {"image", "error"}
    assert bad["image"] == "=x.png"  # no spreadsheet reads it
    assert (boxed["p3_1_x1"], boxed["p3_2_x1"], boxed["unsure"]) == (30.5, None, False)
    assert (whole["image"], whole["class_1"], whole["set"]) == ("caf�.png", "�lm", ["Elm, finch", "鳥"])
    assert (whole["known"], whole["known_score"], whole["taxon"], whole["taxon_probability"]) == (
        *(True, 0.5, "Elmidae", 0.875),
    )
    assert rows[2][header.index("set")] == "Elm, finch | 鳥"
    writers["parquet"].save(tmp_path / "none.parquet", [])
    assert arrow.read_table(tmp_path / "none.parquet").num_rows == 0


def test_table_by_hand() -> None:
    found = text("table", failed(), answer("long name.png", boxes=True), answer("b.png", unsure=True))
    assert found.splitlines() == [
        "image          answer      probability",
        "long name.png  Elm, finch      75.00 %",
        "               鳥              12.35 %",
        "               box p3          1.0     2.1    30.5     4.0   0.500",
        "               box zoom        0.0     0.0     9.0     9.0   1.000",
        "b.png          unsure",
        "               Elm, finch      75.00 %",
        "               鳥              12.35 %",
    ]


def test_a_very_long_name_stays_whole() -> None:
    lines = text("table", answer("x" * 90 + ".png"), answer()).splitlines()
    assert lines[1].startswith("x" * 90 + ".png  Elm, finch")
    assert lines[3] == "a.png" + " " * 57 + "Elm, finch      75.00 %"
