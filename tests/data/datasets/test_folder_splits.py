"""Which folders of a user are splits and which are classes, and names that look alike."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.splits import apply_record, apply_spec, split_record
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from tests.data.small_archives import spec_of, write_lines
from tests.making import mk

NFC, NFD = (unicodedata.normalize(form, "Zaunkönig") for form in ("NFC", "NFD"))


def load(root: Path, **values: object) -> DatasetIndex:
    """The index that a new run begins with."""
    spec = spec_of("folder", root, **values)
    return apply_spec(load_index(spec), spec)


def refused(root: Path, **values: object) -> str:
    with pytest.raises(BadRequest) as caught:
        load(root, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Test"),
        ("training", "testing"),
        ("train", "tests"),
        ("train", "dev"),
        ("train", "eval"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
    ],
)
def test_splits_are_not_classes(tmp_path: Path, train: str, test: str) -> None:
    mk(tmp_path / train, "robin=6", "wren=6")
    mk(tmp_path / test, "robin=3", "wren=3")
    index = load(tmp_path)
    assert index.classes == ("robin", "wren")
    assert (len(index.train), index.val, len(index.test)) == (12, None, 6)
    assert all(file.startswith(f"{test}/") for file in index.test.files)


def test_eval_beside_test_is_validation(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("eval", 1), ("test", 3)):
        mk(tmp_path / split, f"robin={count}", f"wren={count}")
    index = load(tmp_path)
    assert index.val is not None
    assert (len(index.train), len(index.val), len(index.test)) == (4, 2, 6)


@pytest.mark.parametrize(("first", "second"), [("2019", "2020"), ("mine", "theirs"), ("fold1", "fold2")])
def test_folders_of_the_same_folders_are_refused(tmp_path: Path, first: str, second: str) -> None:
    mk(tmp_path / first, "robin=2", "wren=2", "finch=2")
    mk(tmp_path / second, "robin=1", "wren=1")
    words = refused(tmp_path)
    assert f"{first!r} and {second!r} hold the same folders (robin, wren)" in words
    assert "--train-dir" in words
    index = load(tmp_path, train_dir=first, test_dir=second)
    assert index.classes == ("finch", "robin", "wren")
    assert (len(index.train), len(index.test)) == (6, 2)
    assert load(tmp_path, train_dir=".").classes == tuple(sorted((first, second)))
    assert load(tmp_path, group_by="folder").classes == tuple(sorted((first, second)))  # the folders are groups


def test_a_run_that_exists_goes_on_with_such_folders(tmp_path: Path) -> None:
    mk(tmp_path, "robin/male=3", "robin/female=3", "wren/male=3", "wren/female=3")
    record = split_record(load(tmp_path, train_dir="."))
    assert "look like splits" in refused(tmp_path)
    assert apply_record(load_index(spec_of("folder", tmp_path)), record).classes == ("robin", "wren")


def test_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    mk(tmp_path, "train=3", "test1=3")
    assert "'test1' and 'train' look like splits" in refused(tmp_path)


def test_classes_with_folders_of_their_own(tmp_path: Path) -> None:
    mk(tmp_path, "robin=1", "robin/male=2", "robin/female=2", "wren=1", "wren/male=2", "wren/female=2")
    assert load(tmp_path).classes == ("robin", "wren")
    mk(tmp_path / "one", "robin/originals=2", "wren/originals=2")
    assert load(tmp_path / "one").classes == ("robin", "wren")


def test_classes_may_be_kinds_of_training(tmp_path: Path) -> None:
    mk(tmp_path, "strength training=3", "strength test=3")
    assert load(tmp_path).classes == ("strength test", "strength training")


def test_named_splits(tmp_path: Path) -> None:
    for place, count in (("x/A", 2), ("x/B", 1), ("elsewhere/C", 3)):
        mk(tmp_path / place, f"robin={count}", f"wren={count}")
    root = tmp_path / "x"
    index = load(root, train_dir="A", val_dir="B", test_dir=tmp_path / "elsewhere" / "C")
    assert index.val is not None
    assert (len(index.train), len(index.val), len(index.test)) == (4, 2, 6)
    assert (index.root / index.test.files[0]).is_file()
    alone = load(root, train_dir="A")
    assert alone.drawn
    assert "the images are in the training folder" in alone.notes[0]
    assert "D is not a folder" in refused(root, train_dir="D")
    assert "lies in the folder of --train-dir" in refused(root, train_dir=".", test_dir="B")


def test_named_splits_are_for_folders_and_begin_with_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test_dir needs train_dir"):
        spec_of("folder", tmp_path, test_dir="a")
    with pytest.raises(ValueError, match="only for the dataset folder"):
        spec_of("cub", tmp_path, train_dir="a")


def write_run(folder: Path) -> None:
    mk(folder / "eval", "pictures=1")
    (folder / "run.json").write_text("{}")


def test_own_runs_become_no_class(tmp_path: Path) -> None:
    mk(tmp_path, "robin=3", "wren=3")
    write_run(tmp_path / "runs" / "baseline-folder-1")
    write_run(tmp_path / "mine")
    write_run(tmp_path / "wren" / "try")
    index = load(tmp_path)
    assert index.classes == ("robin", "wren")
    assert len(index.train) + len(index.test) == 6
    assert any("what fgvc itself wrote is passed over" in note for note in index.notes)
    assert "is the folder of a run" in refused(tmp_path / "mine")


def test_linked_folders(tmp_path: Path) -> None:
    mk(tmp_path / "photos", "robin=3", "wren=3")
    mk(tmp_path / "store", "more=2")
    (tmp_path / "photos" / "robin" / "more").symlink_to(tmp_path / "store" / "more")
    (tmp_path / "photos" / "all").symlink_to(tmp_path / "photos")
    index = load(tmp_path / "photos")
    assert index.classes == ("robin", "wren")
    assert any("2 linked folders are passed over (first: all -> " in note for note in index.notes)
    assert not any("no image" in note for note in index.notes)
    followed = load(tmp_path / "photos", follow_links=True)
    assert followed.classes == ("robin", "wren")
    assert len(followed.train) + len(followed.test) == 8
    (tmp_path / "photos" / "finch").mkdir()
    (tmp_path / "photos" / "finch" / "more").symlink_to(tmp_path / "store" / "more")
    assert "'finch' holds no images (--follow-links reads its linked folders)" in refused(tmp_path / "photos")


@pytest.mark.parametrize(
    ("trained", "tested"), [(NFC, NFD), ("Robin", "robin"), ("robin", "robin\u200b"), ("house wren", "house  wren ")]
)
def test_one_class_in_two_spellings(tmp_path: Path, trained: str, tested: str) -> None:
    mk(tmp_path / "train", f"{trained}=3", "finch=3")
    mk(tmp_path / "test", f"{tested}=2", "finch=1")
    index = load(tmp_path)
    assert set(index.classes) == {"finch", trained}
    assert (len(index.train), len(index.test)) == (6, 3)
    [note] = index.notes
    assert "two spellings of a class name are read as one class" in note
    assert "U+" in note or "case" in note


def test_two_folders_that_look_the_same_are_one_class(tmp_path: Path) -> None:
    mk(tmp_path, f"{NFC}=3", f"{NFD}=3", "finch=3")
    index = load(tmp_path)
    assert index.classes == ("finch", NFC)
    assert len(index.train) + len(index.test) == 9
    assert "U+00F6 against U+006F U+0308" in "".join(index.notes)


def test_classes_that_differ_in_case_are_named(tmp_path: Path) -> None:
    mk(tmp_path / "train", "A=3", "a=3")
    mk(tmp_path / "test", "A=1", "a=1")
    index = load(tmp_path)
    assert index.classes == ("A", "a")
    assert "'A' and 'a' are two classes that look alike: only upper and lower case differ" in index.notes[0]
    mk(tmp_path / "test", "Ａ=1")
    assert "there is 'A' (U+FF21 against U+0041) and 'a'" in refused(tmp_path)


def test_a_table_and_a_disk_that_spell_names_otherwise(tmp_path: Path) -> None:
    mk(tmp_path, f"{NFD}=2", "finch=2")
    (tmp_path / "finch" / "0.jpg").rename(tmp_path / "finch" / "0.JPG")
    rows = [f"{NFC}/0.jpg,{NFC},train", f"{NFC}/1.jpg,{NFD},test", "finch/0.jpg,finch,train", "Finch/1.jpg,Finch,eval"]
    write_lines(tmp_path / "table.csv", "path,label,split", *rows)
    index = load_index(spec_of("csv", tmp_path / "table.csv"))
    assert index.classes == ("finch", NFC)
    assert index.train.files == (f"{NFD}/0.jpg", "finch/0.JPG")
    assert index.val is not None
    assert index.val.files == ("finch/1.jpg",)
    assert any("4 listed files are spelled otherwise on disk" in note for note in index.notes)


def test_a_table_that_lists_one_file_in_two_spellings(tmp_path: Path) -> None:
    mk(tmp_path, "robin=2", "wren=2")
    rows = ["robin/0.jpg,robin", "robin/0.JPG,robin", "wren/0.jpg,wren", "wren/1.jpg,wren"]
    write_lines(tmp_path / "table.csv", "path,label", *rows)
    with pytest.raises(BadRequest, match="is listed for the second time"):
        load_index(spec_of("csv", tmp_path / "table.csv"))


def test_a_recorded_split_on_a_disk_that_spells_names_otherwise(tmp_path: Path) -> None:
    mk(tmp_path, f"{NFC}=3", "finch=3")
    spec = spec_of("folder", tmp_path, val_fraction=0.3)
    record = split_record(apply_spec(load_index(spec), spec))
    (tmp_path / NFC).rename(tmp_path / NFD)
    index = apply_record(load_index(spec), record)
    assert index.classes == ("finch", NFC)
    assert (len(index.train), len(index.test)) == (2, 2)
    assert all((index.root / file).is_file() for split in index.splits().values() for file in split.files)
