from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.groups import group_codes, grouped_holdout
from fgvc_cli.data.splits import apply_record, apply_spec, split_record
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest
from tests.data.small_archives import spec_of, write_cub, write_folder, write_image, write_lines

CLASSES = ("robin", "wren")


def codes(group_by: str, files: list[str], labels: list[int] | None = None) -> list[int]:
    split = Split(tuple(files), np.array(labels or [0] * len(files)))
    return group_codes(group_by, Path("photos"), split, CLASSES).tolist()


def bursts(root: Path, sizes: dict[str, list[int]]) -> Path:
    """Class folders with a folder a burst: b0, b1, ... of these sizes."""
    seed = 0
    for name, counts in sizes.items():
        for number, count in enumerate(counts):
            for i in range(count):
                seed += 1
                write_image(root / name / f"b{number}" / f"{i}.png", seed=seed)
    return root


def folders(split: Split) -> set[str]:
    return {file.rpartition("/")[0] for file in split.files}


# ---- names of groups


def test_folders_below_the_class_folder() -> None:
    files = ["robin/a/1.jpg", "robin/a/2.jpg", "robin/b/1.jpg", "robin/1.jpg", "robin/2.jpg", "wren/a/1.jpg"]
    found = codes("folder", files, [0] * 5 + [1])
    assert found[0] == found[1]
    assert len(set(found)) == 5  # images right in the class folder are alone; folders of two classes are two
    below = [f"train/{file}" for file in files]
    again = codes("folder", below, [0] * 5 + [1])
    assert again[0] == again[1]
    assert len(set(again)) == 5


def test_first_group_or_whole_match() -> None:
    files = ["robin/seq12_f1.jpg", "robin/seq12_f2.jpg", "wren/seq3_f1.jpg", "wren/seq12_f9.jpg"]
    for pattern in (r"seq\d+", r"seq(\d+)_f\d+", r"(?:x|seq)(?P<burst>\d+)"):
        found = codes(f"regex:{pattern}", files)
        assert found[0] == found[1] == found[3] != found[2], pattern


def test_a_column_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "birds.csv"
    files = ["robin/1.jpg", "robin/2.jpg", "wren/3.jpg", "wren/4.jpg"]
    for delimiter in ",;\t":
        rows = [
            ("ring", "Path"),
            ("A1", "robin/1.jpg"),
            ("A1", "./robin\\2.jpg"),
            ("", "wren/3.jpg"),
            ("", "wren/4.jpg"),
        ]
        table.write_text("\ufeff" + "".join(delimiter.join(row) + "\r\n" for row in [*rows, ("B7", "gone.jpg")]))
        found = codes(f"csv:{table}:ring", files)
        assert found[0] == found[1]
        assert len(set(found)) == 3  # an empty entry: alone


def refused(group_by: str, files: list[str]) -> str:
    with pytest.raises(BadRequest) as caught:
        codes(group_by, files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_without_a_group_are_named(tmp_path: Path) -> None:
    files = ["robin/seq1.jpg", "robin/dsc2.jpg", "robin/dsc3.jpg"]
    assert r"'seq(\\d+)' matches no text in the path of 2 of 3 images (first: robin/dsc2.jpg)" in refused(
        r"regex:seq(\d+)", files
    )
    assert "of 3 of 3 images" in refused("regex:x*", files)  # an empty match is none
    assert "first: robin/seq1.jpg" in refused("folder", files)
    table = tmp_path / "birds.csv"
    write_lines(table, "file,ring", "robin/seq1.jpg,A", "robin/dsc3.jpg,A")
    message = refused(f"csv:{table}:ring", files)
    assert "birds.csv: has no row" in message
    assert "1 of 3 images (first: robin/dsc2.jpg)" in message


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("file,ring", "a.jpg,1", "a.jpg,2"), "puts a.jpg into two groups, '1' and '2'"),
        (("file,band", "a.jpg,1"), "has no column 'ring'; its columns are file, band"),
        (("image,ring", "a.jpg,1"), "has no column called path, file, filename"),
        ((), "its columns are none"),
        (("file,ring", "a.jpg"), "has no row"),
    ],
)
def test_tables_that_do_not_tell(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    write_lines(tmp_path / "t.csv", *lines)
    assert words in refused(f"csv:{tmp_path / 't.csv'}:ring", ["a.jpg"])


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    assert "none.csv: cannot be read as a CSV file (No such file" in refused(f"csv:{tmp_path}/none.csv:x", ["a.jpg"])
    (tmp_path / "t.csv").write_bytes(b"file,ring\n\xff\xfe,1\n")
    assert "cannot be read as a CSV file" in refused(f"csv:{tmp_path / 't.csv'}:ring", ["a.jpg"])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "must be folder, regex:PATTERN or csv:FILE:COLUMN (got '')"),
        ("folders", "must be folder"),
        ("folder:x", "must be folder"),
        ("regex:", "must be folder"),
        ("csv:birds.csv", "must be folder"),
        ("csv::ring", "must be folder"),
        ("regex:(", "'(' is not a regular expression: missing )"),
        ("regex:a{99999999999999999999}", "is not a regular expression"),
    ],
)
def test_rules_that_are_none(value: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec_of("folder", group_by=value)
    assert words in str(caught.value)


# ---- the draw


@st.composite
def images_in_groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of up to 5 classes; groups of one class, or with a seventh of the images in another one."""
    sizes = draw(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=12), min_size=1, max_size=5))
    labels = [label for label, groups in enumerate(sizes) for size in groups for _ in range(size)]
    names = [(label, i) for label, groups in enumerate(sizes) for i, size in enumerate(groups) for _ in range(size)]
    codes = np.unique([f"{label} {i}" for label, i in names], return_inverse=True)[1]
    if draw(st.booleans()):  # groups that hold several classes
        codes = codes // draw(st.integers(2, 3))
    order = draw(st.randoms(use_true_random=False)).sample(range(len(labels)), len(labels))
    return np.array(labels)[order], codes[order]


@settings(max_examples=150, deadline=None)
@given(images_in_groups(), st.floats(0.02, 0.9), st.integers(0, 2**40))
def test_whole_groups_near_the_share(drawn: tuple[np.ndarray, np.ndarray], fraction: float, seed: int) -> None:
    labels, groups = drawn
    counts = np.bincount(labels)
    wanted = np.clip(np.floor(counts * fraction + 0.5).astype(np.int64), 1, counts - 1)
    kept, held = grouped_holdout(labels, groups, wanted, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert list(kept) == sorted(kept)
    assert list(held) == sorted(held)
    assert not set(groups[kept]) & set(groups[held])
    out = np.bincount(labels[held], minlength=len(counts))
    assert (counts - out >= 1).all()
    again = grouped_holdout(labels, groups, wanted, seed)
    assert np.array_equal(again[1], held)
    pure = len({(int(a), int(b)) for a, b in zip(labels, groups, strict=True)}) == len(set(groups.tolist()))
    for label in range(len(counts)) if pure else ():
        largest = np.bincount(groups[labels == label]).max()
        assert abs(out[label] - wanted[label]) < largest + (wanted[label] == 0)
        if len(set(groups[labels == label])) > 1:
            assert out[label] >= 1


def test_single_images_as_groups_give_the_exact_share() -> None:
    labels = np.repeat(np.arange(4), [50, 20, 3, 1])
    wanted = np.array([10, 4, 1, 0])
    _, held = grouped_holdout(labels, np.arange(len(labels)), wanted, 3)
    assert np.bincount(labels[held], minlength=4).tolist() == wanted.tolist()


def test_many_groups_are_drawn_fast_and_depend_on_the_seed() -> None:
    labels = np.arange(60_000) % 100
    groups = np.arange(60_000) // 3
    wanted = np.full(100, 120)
    first, second = (grouped_holdout(labels, groups, wanted, seed)[1] for seed in (0, 1))
    assert abs(len(first) - 12_000) < 600
    assert not np.array_equal(first, second)


# ---- in a data set


def test_bursts_stay_on_one_side_of_test_and_validation(tmp_path: Path) -> None:
    bursts(tmp_path, {"robin": [5] * 8, "wren": [2, 3, 4, 5, 6, 1, 1, 1]})
    spec = spec_of("folder", tmp_path, group_by="folder", val_fraction=0.25)
    index = apply_spec(load_index(spec), spec)
    assert index.val is not None
    sides = [folders(split) for split in (index.train, index.val, index.test)]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert np.bincount(index.test.labels).tolist()[0] == 10  # of 8 that are wanted: two bursts are nearer than one
    assert set(index.test.labels) == set(index.val.labels) == set(index.train.labels) == {0, 1}
    assert "class, group and seed" in index.notes[0]
    ungrouped = load_index(spec_of("folder", tmp_path))
    assert folders(ungrouped.train) & folders(ungrouped.test)


def test_groups_may_hold_two_classes(tmp_path: Path) -> None:
    for name in CLASSES:
        for i in range(20):
            write_image(tmp_path / name / f"cam{i // 2}_{i % 2}.png", seed=i)
    index = load_index(spec_of("folder", tmp_path, group_by=r"regex:cam(\d+)"))
    cameras = [{file.split("cam")[1][0] for file in split.files} for split in (index.train, index.test)]
    assert not cameras[0] & cameras[1]
    assert np.bincount(index.test.labels).tolist() == [4, 4]


def test_official_splits_stay_and_validation_is_grouped(tmp_path: Path) -> None:
    write_cub(tmp_path)
    spec = spec_of("cub", tmp_path, group_by=r"regex:_(\d+)\.jpg", val_fraction=0.5)
    assert apply_spec(load_index(spec), spec).val is not None
    folder = spec_of("cub", tmp_path, group_by="folder", val_fraction=0.5)
    with pytest.raises(BadRequest, match=r"no image in .* lies in a folder below its class folder"):
        apply_spec(load_index(folder), folder)
    unused = spec_of("cub", tmp_path, group_by="folder")
    assert any("group_by changes nothing" in note for note in apply_spec(load_index(unused), unused).notes)


def test_groups_that_leave_nothing_to_hold_out(tmp_path: Path) -> None:
    bursts(tmp_path, {"robin": [5], "wren": [4]})
    with pytest.raises(BadRequest, match="each class is one group only"):
        load_index(spec_of("folder", tmp_path, group_by="folder"))
    write_folder(tmp_path / "split", {"train/a/x": 3, "train/b/y": 3, "test/a": 1, "test/b": 1})
    spec = spec_of("folder", tmp_path / "split", group_by="folder", val_fraction=0.3)
    with pytest.raises(BadRequest, match="no class has two groups of training images"):
        apply_spec(load_index(spec), spec)


def test_a_run_keeps_its_groups_when_images_are_added(tmp_path: Path) -> None:
    bursts(tmp_path, {"robin": [3] * 5, "wren": [3] * 5})
    spec = spec_of("folder", tmp_path, group_by="folder")
    index: DatasetIndex = apply_spec(load_index(spec), spec)
    record = split_record(index)
    bursts(tmp_path, {"robin": [3] * 7})
    kept = apply_record(load_index(spec.model_copy(update={"group_by": None})), record)
    assert kept.test.files == index.test.files
    assert kept.train.files == index.train.files
