"""Classes left out of a dataset: by number, by name and by a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.splits import apply_record, apply_spec, split_record
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.data import DataSpec


def index_of(classes: int = 5) -> DatasetIndex:
    labels = np.arange(4 * classes) % classes
    train = Split(tuple(f"train/{place}.jpg" for place in range(len(labels))), labels)
    test = Split(tuple(f"test/{place}.jpg" for place in range(classes)), np.arange(classes))
    names = tuple("abcdefgh"[:classes])
    return DatasetIndex("folder", Path("x"), names, train, test, part_options=tuple((name,) for name in names))


def spec(wish: object) -> DataSpec:
    return DataSpec.model_validate({"dataset": "folder", "leave_out": wish, "val_fraction": 0.25})


def test_the_rest_is_a_dataset_of_its_own() -> None:
    index = apply_spec(index_of(), spec("d, B"))
    assert index.classes == ("a", "c", "e")
    assert index.part_options == (("a",), ("c",), ("e",))
    assert index.left_out is not None
    assert index.left_out.classes == ("b", "d")
    assert index.left_out.splits["test"].files == ("test/1.jpg", "test/3.jpg")
    assert index.left_out.splits["test"].labels.tolist() == [0, 1]
    assert index.test.files == ("test/0.jpg", "test/2.jpg", "test/4.jpg")
    assert index.test.labels.tolist() == [0, 1, 2]
    assert index.val is not None
    assert len(index.train) + len(index.val) == 12
    assert apply_spec(index, spec("d, B")) == index


def test_a_record_gives_the_same_without_the_wish() -> None:
    first = apply_spec(index_of(), spec(2))
    assert first.left_out is not None
    assert first.drawn
    again = apply_record(index_of(), split_record(first))
    assert again.left_out is not None
    assert (again.classes, again.left_out.classes) == (first.classes, first.left_out.classes)
    assert again.train.files == first.train.files
    assert np.array_equal(again.train.labels, first.train.labels)
    assert again.notes == first.notes


def test_a_number_is_drawn_by_the_seed() -> None:
    drawn = [
        apply_spec(index_of(8), replace_seed(spec(3), seed)).left_out.classes  # type: ignore[union-attr]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def replace_seed(data: DataSpec, seed: int) -> DataSpec:
    return data.model_copy(update={"split_seed": seed})


def test_a_file_of_names(tmp_path) -> None:
    (tmp_path / "names.txt").write_text("e\n\na\n")
    assert apply_spec(index_of(), spec(str(tmp_path / "names.txt"))).classes == ("b", "c", "d")


@pytest.mark.parametrize(("wish", "complaint"), [("z", "no class 'z'"), (4, "at least 2"), ("a,b,c,d", "would remain")])
def test_bad_wishes(wish, complaint) -> None:
    with pytest.raises(BadRequest, match=complaint):
        apply_spec(replace(index_of()), spec(wish))
