from __future__ import annotations

import pytest

from fgvc_cli.data.formats.split_names import look_like_splits, splits_among


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Test"),
        ("training", "testing"),
        ("train", "tests"),
        ("train", "dev"),
        ("train", "eval"),
        ("TRAIN", "Evaluation"),
        ("training_set", "test_set"),
        ("trainset", "testset"),
        ("Training Data", "Test Data"),
        ("train-images", "val-images"),
        ("seg_train", "seg_test"),
        ("cars_train", "cars_test"),
        ("train2017", "val2017"),
        ("train", "validation"),
        ("trainval", "test"),
    ],
)
def test_spellings(train: str, test: str) -> None:
    assert splits_among([test, train]) == {train: "train", test: splits_among([test, train])[test]}
    assert splits_among([test, train])[test] in ("test", "val")
    assert splits_among([test, train, "unlabelled"]) == splits_among([test, train])
    assert splits_among([train]) == {train: "train"}


def test_eval_is_what_is_missing() -> None:
    assert splits_among(["train", "eval"])["eval"] == "test"
    assert splits_among(["train", "dev", "eval"]) == {"train": "train", "dev": "val", "eval": "test"}
    assert splits_among(["train", "test", "eval"]) == {"train": "train", "test": "test", "eval": "val"}


@pytest.mark.parametrize(
    "folders",
    [
        ["bus", "train", "tram"],
        ["robin", "wren"],
        ["test tube", "train station"],
        ["bus_train", "bus_test", "tram_train", "tram_test"],
        ["test", "val"],
        ["restraining", "latest"],
        [],
    ],
)
def test_folders_that_are_no_splits(folders: list[str]) -> None:
    assert splits_among(folders) == {}


def test_folders_that_look_like_splits_and_fit_no_rule() -> None:
    assert look_like_splits(["test1", "train", "x"]) == ["test1", "train"]
    assert look_like_splits(["test", "val"]) == ["test", "val"]
    assert look_like_splits(["bus", "train", "tram"]) == []
    assert look_like_splits(["test tube", "train station"]) == []
