from __future__ import annotations

import re

import numpy as np

from fgvc_cli.evaluation.confusion import Confusion
from fgvc_cli.report.matrix import SHADES, main_confusions, matrix


def confusion(counts: list[list[int]]) -> Confusion:
    table = np.array(counts)
    true, predicted = np.nonzero(table)
    return Confusion(tuple(f"class {i}" for i in range(len(table))), true, predicted, table[true, predicted])


TABLE = [[3, 1, 0, 0], [0, 0, 16, 0], [1, 1, 62, 0], [0, 0, 0, 0]]


def test_each_cell_lies_in_its_shade() -> None:
    made = matrix(confusion(TABLE))
    assert made is not None
    # shares 3/4, 1/4, 16/16, 1/64 (twice), 62/64; the shade is ⌊8 √share⌋, 7 at most
    assert {shade: d for shade, d in enumerate(made.right) if d} == {6: "M0 0h1v1h-1z", 7: "M2 2h1v1h-1z"}
    wrong = {shade: d for shade, d in enumerate(made.wrong) if d}
    assert wrong == {1: "M0 2h1v1h-1zM1 2h1v1h-1z", 4: "M1 0h1v1h-1z", 7: "M2 1h1v1h-1z"}
    assert made.cells == [[0, 0, 3], [0, 1, 1], [1, 2, 16], [2, 0, 1], [2, 1, 1], [2, 2, 62]]
    assert made.dark == [True, True, True, False, False, True]
    assert len(made.right) == len(made.wrong) == SHADES


def test_a_thousand_classes_stay_light() -> None:
    dice = np.random.RandomState(0)
    classes = tuple(f"class {i}" for i in range(1000))
    cells = np.unique(dice.randint(0, 1000, (20_000, 2)), axis=0)
    made = matrix(Confusion(classes, cells[:, 0], cells[:, 1], np.ones(len(cells), dtype=np.int64)))
    assert made is not None
    drawn = [d for d in made.right + made.wrong if d]
    assert sum(len(re.findall("M", d)) for d in drawn) == len(cells)
    assert sum(map(len, drawn)) < 500_000
    assert not made.named


def test_more_classes_have_no_picture() -> None:
    empty = np.array([], dtype=np.int64)
    assert matrix(Confusion(tuple(map(str, range(1001))), empty, empty, empty)) is None


def test_what_a_class_is_taken_for() -> None:
    assert main_confusions(confusion(TABLE)) == {0: (1, 1), 1: (2, 16), 2: (0, 1)}
