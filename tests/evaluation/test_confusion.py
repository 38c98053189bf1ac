from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.confusion import Confusion, class_rows, read_classes, worst_classes, write_classes
from fgvc_cli.evaluation.confusion_picture import draw_confusion
from fgvc_cli.evaluation.metrics import ClassCounts, Predicted

ODD_NAMES = ('Crow, "carrion"', "AC/DC\\amp", "$x^2$ 100 %", "élan vital ", "二", "[red]bold[/]", "two\nlines")


def confusion_of(labels, predicted, classes: tuple[str, ...]) -> Confusion:
    labels, predicted = np.array(labels, dtype=np.int64), np.array(predicted, dtype=np.int64)
    ones = np.ones(len(labels))
    return Confusion.of(classes, Predicted(np.arange(len(labels)), labels, predicted, ones, ones))


def many(classes: int, images: int = 4000) -> Confusion:
    dice = np.random.RandomState(0)
    labels = dice.randint(0, classes, images)
    wrong = np.minimum(labels + 1, classes - 1)
    return confusion_of(
        labels, np.where(dice.rand(images) < 0.8, labels, wrong), tuple(f"class {i}" for i in range(classes))
    )


def test_the_matrix_is_scikit_learns() -> None:
    dice = np.random.RandomState(0)
    labels, predicted = dice.randint(0, 7, 300), dice.randint(0, 9, 300)
    confusion = confusion_of(labels, predicted, tuple("abcdefghi"))
    np.testing.assert_array_equal(confusion.dense(), confusion_matrix(labels, predicted, labels=range(9)))


def test_the_worst_pairs_by_hand() -> None:
    labels = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    predicted = [0, 1, 1, 2, 2, 2, 1, 2, 0, 0, 1]
    worst = confusion_of(labels, predicted, ("a", "b", "c", "d")).worst(4)
    # two images each of b → c (2/3 of b), a → b (2/4), c → a (2/4); then a → c before c → b
    assert [(pair["true"], pair["predicted"], pair["images"]) for pair in worst] == [
        ("b", "c", 2),
        ("a", "b", 2),
        ("c", "a", 2),
        ("a", "c", 1),
    ]
    assert [pair["share"] for pair in worst] == pytest.approx([2 / 3, 1 / 2, 1 / 2, 1 / 4])


def test_nothing_confused(tmp_path) -> None:
    confusion = confusion_of([0, 1], [0, 1], ("a", "b"))
    assert confusion.worst() == []
    draw_confusion(tmp_path / "a.png", confusion)
    draw_confusion(tmp_path / "b.png", confusion_of([0], [0], tuple(map(str, range(1001)))))


def test_the_matrix_as_csv_comes_back_with_any_names(tmp_path) -> None:
    classes = len(ODD_NAMES)
    confusion = confusion_of(list(range(classes)), [*range(1, classes), 0], ODD_NAMES)
    confusion.write(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header[1:]) == ODD_NAMES
    assert tuple(row[0] for row in rows) == ODD_NAMES
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], dtype=int), confusion.dense())


def test_above_a_thousand_classes_only_what_is_not_zero(tmp_path) -> None:
    names = (*ODD_NAMES, *(f"class {i}" for i in range(1001 - len(ODD_NAMES))))
    confusion = confusion_of([0, 0, 1000, 2], [1, 1, 1000, 3], names)
    confusion.write(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["true", "predicted", "count"],
        [names[0], names[1], "2"],
        [names[2], names[3], "1"],
        [names[1000], names[1000], "1"],
    ]


def test_the_table_of_classes_comes_back(tmp_path) -> None:
    hits = np.array([3, 0, 0, 1, 2, 5, 1])
    counts = ClassCounts(hits, hits + np.array([0, 1, 0, 2, 0, 1, 0]), np.array([4, 0, 2, 1, 3, 7, 3]))
    rows = class_rows(ODD_NAMES, counts)
    assert rows[1] == {"class": ODD_NAMES[1], "images": 0, "precision": 0.0, "recall": None, "f1": None}
    assert rows[2] == {"class": ODD_NAMES[2], "images": 2, "precision": None, "recall": 0.0, "f1": 0.0}
    write_classes(tmp_path / "classes.csv", rows)
    assert read_classes(tmp_path / "classes.csv") == rows
    worst = worst_classes(rows, 3)
    assert [row["class"] for row in worst] == [ODD_NAMES[2], *(ODD_NAMES[i] for i in (3, 6))]


def test_a_table_that_is_gone_or_damaged_is_one_line(tmp_path) -> None:
    with pytest.raises(FgvcError, match="run `fgvc eval` again"):
        read_classes(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("class,images\na,x\n")
    with pytest.raises(FgvcError, match="run `fgvc eval` again"):
        read_classes(tmp_path / "bad.csv")


@pytest.mark.parametrize(("classes", "least", "most"), [(2, 300, 900), (12, 600, 1200), (60, 800, 3000)])
def test_the_picture_opens(tmp_path, classes, least, most) -> None:
    draw_confusion(tmp_path / "c.png", many(classes))
    with Image.open(tmp_path / "c.png") as image:
        image.load()
        assert image.format == "PNG"
        assert least <= min(image.size) <= max(image.size) <= most
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_pictures_of_many_classes_stay_handy(tmp_path) -> None:
    for classes in (1000, 1001):
        draw_confusion(tmp_path / f"{classes}.png", many(classes))
        with Image.open(tmp_path / f"{classes}.png") as image:
            assert max(image.size) < 4500
        assert (tmp_path / f"{classes}.png").stat().st_size < 3e6


def test_the_picture_takes_names_literally_and_warns_of_nothing(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(tmp_path / "c.png", confusion_of([0, 1, 2, 4], [0, 2, 2, 5], ODD_NAMES))
        names = (*ODD_NAMES, *(f"$\\frac{i}" for i in range(1000)))
        draw_confusion(tmp_path / "d.png", confusion_of([0, 8, 4], [8, 2, 5], names))


@pytest.mark.parametrize("classes", [("a", *ODD_NAMES), tuple(f"class {i}" for i in range(1001))])
def test_a_matrix_reads_back(tmp_path, classes) -> None:
    dice = np.random.RandomState(0)
    written = confusion_of(dice.randint(0, len(classes), 50), dice.randint(0, len(classes), 50), classes)
    written.write(tmp_path / "m.csv")
    read = Confusion.read(tmp_path / "m.csv", classes)
    for name in ("true", "predicted", "count"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.worst() == written.worst()


@pytest.mark.parametrize("classes", [("a", "b"), tuple(f"class {i}" for i in range(1001))])
@pytest.mark.parametrize(
    "damage", [lambda text: "", lambda text: text[: len(text) // 2], lambda text: text.replace("1", "x")]
)
def test_a_damaged_matrix_is_one_line(tmp_path, classes, damage) -> None:
    file = tmp_path / "m.csv"
    confusion_of([0, 1], [0, 0], classes).write(file)
    file.write_text(damage(file.read_text()))
    with pytest.raises(FgvcError, match=r"m\.csv: .*run `fgvc eval` again"):
        Confusion.read(file, classes)
    with pytest.raises(FgvcError, match="run `fgvc eval` again"):
        Confusion.read(tmp_path / "gone.csv", classes)


def test_a_matrix_of_other_classes_is_refused(tmp_path) -> None:
    confusion_of([0, 1], [0, 0], ("a", "b")).write(tmp_path / "m.csv")
    with pytest.raises(FgvcError, match="its classes are not the run's"):
        Confusion.read(tmp_path / "m.csv", ("b", "a"))
