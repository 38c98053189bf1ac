from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.splits import apply_record, apply_spec, split_record
from fgvc_cli.data.types import DatasetIndex
from tests.data.datasets.refusals import refused
from tests.data.small_archives import spec_of, write_image, write_lines

IMAGES = tuple(f"{kind}/{i}.png" for kind in ("wren", "robin") for i in range(5))


def write_photos(root: Path) -> Path:
    """Five images of each of two classes, 24 × 18 pixels; the path of a table beside them."""
    for i, file in enumerate(IMAGES):
        write_image(root / file, seed=i)
    return root / "photos.csv"


def write_table(
    root: Path, header: str = "path,label", more: str = "", *, encoding: str = "utf-8", end: str = "\n"
) -> Path:
    """One row an image, with the same ending each."""
    file = write_photos(root)
    rows = [header, *(f"{image},{image.partition('/')[0]}{more}" for image in IMAGES)]
    write_lines(file, *rows)
    return file


def load(file: Path, **values: object) -> DatasetIndex:
    return load_index(spec_of("csv", file, **values))


def test_without_a_split_column_test_is_drawn_as_for_folders(tmp_path: Path) -> None:
    file = write_table(tmp_path)
    index = load(file)
    assert index.classes == ("robin", "wren")
    assert (len(index.train), len(index.test), index.val) == (8, 2, None)
    assert index.drawn
    assert "the images are in one list: 2 of 10 are held out for testing" in index.notes[0]
    assert index.train.boxes is None
    assert sorted(index.train.files + index.test.files) == sorted(IMAGES)
    assert sorted(index.test.labels.tolist()) == [0, 1]
    names = [index.classes[label] for label in index.test.labels]
    assert names == [file.partition("/")[0] for file in index.test.files]


def write_splits(root: Path, splits: str) -> Path:
    """wren 0..4, then robin 0..4, each image in the split of its letter: t v e."""
    file = write_photos(root)
    words = {"t": "train", "v": "Valid", "e": "TEST"}
    rows = [f"{image},{image[:4]},{words[word]}" for image, word in zip(IMAGES, splits, strict=True)]
    write_lines(file, "Path,Label,Split", *rows)
    return file


def test_splits_as_they_are_called(tmp_path: Path) -> None:
    index = load(write_splits(tmp_path, "ttveetttte"))
    assert (len(index.train), len(index.test)) == (6, 3)
    assert index.val is not None
    assert index.val.files == ("wren/2.png",)
    assert index.val.labels.tolist() == [1]
    assert not index.drawn


def test_validation_stands_in_for_test(tmp_path: Path) -> None:
    index = load(write_splits(tmp_path, "tttvvtttvv"))
    assert (len(index.train), len(index.test), index.val) == (6, 4, None)
    assert "validation split is the test split" in index.notes[0]


def test_training_alone_is_split(tmp_path: Path) -> None:
    assert load(write_splits(tmp_path, "tttttttttt")).drawn


def test_a_drawn_split_is_kept(tmp_path: Path) -> None:
    file = write_table(tmp_path)
    spec = spec_of("csv", file, val_fraction=0.25)
    index = apply_spec(load_index(spec), spec)
    record = split_record(index)
    write_image(tmp_path / "wren" / "new.png")
    write_lines(file, *file.read_text().splitlines(), "wren/new.png,wren")
    kept = apply_record(load_index(spec), record)
    assert {name: split.files for name, split in kept.splits().items()} == {
        name: split.files for name, split in index.splits().items()
    }


def test_boxes(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    boxes = ["0,0,24,18", "1.5,2,10,11.25", ",,,", "3,4,5,6", "0,0,1,1"] * 2
    rows = [f"{image},{image[:4]},{box}" for image, box in zip(IMAGES, boxes, strict=True)]
    write_lines(file, "path,label,x1,y1,x2,y2", *rows)
    index = load(file)
    assert index.train.boxes is not None
    assert index.test.boxes is not None
    both = dict(
        zip(
            index.train.files + index.test.files, [*index.train.boxes.tolist(), *index.test.boxes.tolist()], strict=True
        )
    )
    assert both["wren/1.png"] == [1.5, 2, 10, 11.25]
    assert both["robin/2.png"] == [0, 0, 0, 0]
    batch = next(make_loader(index, index.train, spec_of("csv", file), batch_size=8, train=False).epoch(0))
    assert batch.boxes is not None
    assert batch.boxes.shape == (8, 4)


def test_boxes_of_larger_images_are_not_used(tmp_path: Path) -> None:
    index = load(write_table(tmp_path, "path,label,x1,y1,x2,y2", ",0,0,240,70"))
    assert index.train.boxes is None
    assert any("boxes are not used" in note for note in index.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_as_spreadsheets_save_them(tmp_path: Path, encoding: str, end: str, delimiter: str) -> None:
    file = write_photos(tmp_path)
    labels = ["Zaunkönig, klein", 'Rotkehlchen "groß"']
    rows = [["label", "file", "note"]]
    rows += [[f'"{labels[i // 5].replace(chr(34), chr(34) * 2)}"', image, ""] for i, image in enumerate(IMAGES)]
    file.write_bytes(end.join(delimiter.join(row) for row in [*rows, [" "], []]).encode(encoding))
    assert load(file).classes == ('Rotkehlchen "groß"', "Zaunkönig, klein")


def test_classes_are_in_natural_order_and_trimmed(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    rows = [f"./{image} , {(10, 2, 1)[i % 3]}" for i, image in enumerate(IMAGES)]
    write_lines(file, "path,class", *(row.replace("/", "\\") for row in rows))
    assert load(file).classes == ("1", "2", "10")


def test_absolute_paths(tmp_path: Path) -> None:
    """One is enough for all paths to be kept from the top."""
    file = write_photos(tmp_path / "photos")
    rows = [f"{tmp_path / 'photos' / image if i % 2 else image},{image[:4]}" for i, image in enumerate(IMAGES)]
    write_lines(file, "path,label", *rows)
    index = load(file)
    assert index.root == Path("/")
    assert all((index.root / name).is_file() for name in index.train.files + index.test.files)
    loader = make_loader(index, index.train, spec_of("csv", file), batch_size=8, train=True)
    assert len(next(loader.epoch(0)).labels) == 8


def test_a_table_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    (tmp_path / "lists").mkdir()
    write_lines(tmp_path / "lists" / "a.csv", "path,label", *(f"../photos/{image},{image[:4]}" for image in IMAGES))
    monkeypatch.chdir(tmp_path / "lists")
    index = load(Path("a.csv"))
    assert len(next(make_loader(index, index.test, spec_of("csv"), batch_size=2, train=False).epoch(0)).labels) == 2


def test_missing_images_are_an_error_or_left_out(tmp_path: Path) -> None:
    file = write_table(tmp_path)
    for image in IMAGES[3:5]:
        (tmp_path / image).unlink()
    message = refused("csv", file)
    assert message.startswith(f"{file}:5: {tmp_path / IMAGES[3]} does not exist; 2 of 10 images are missing; ")
    assert "--on-bad-image skip" in message
    index = load(file, on_bad_image="skip")
    assert len(index.train) + len(index.test) == 8
    assert index.notes[0] == "2 of 10 images are missing and left out (first: line 5, wren/3.png)"
    for image in IMAGES:
        (tmp_path / image).unlink(missing_ok=True)
    assert "paths are relative to the table" in refused("csv", file, on_bad_image="skip")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", "path,label"]),
        ("\n\n", ["is empty"]),
        ("path,label\n", ["lists no images"]),
        ("a.png,wren\nb.png,robin\n", [":1: has no column 'path' among 'a.png', 'wren'"]),
        ("path\na.png\n", [":1: has no column 'label'"]),
        ("path,file,label\na.png,a.png,wren\n", [":1: has 2 columns for the path"]),
        ("path,label,x1,y1,x2\na.png,wren,1,1,1\n", [":1: has no column 'y2'"]),
        ("path,label\na.png,wren\nb.png\n", [":3: has 1 columns, but the first line has 2"]),
        ("path,label\na.png,wren, big\n", [":2: has 3 columns"]),
        ("path,label\na.png,\n", [":2: column label is empty"]),
        ("path,label\n ,wren\n", [":2: column path is empty"]),
        ("path,label,split\na.png,wren,trian\n", [":2: column split is 'trian'", "train, val or test"]),
        ("path,label,split\na.png,wren,\n", [":2: column split is ''"]),
        ("path,label\na.png,wren\n./a.png,robin\n", [":3: a.png is listed for the second time, first in line 2"]),
        ('path,label\na.png,"wren\nb.png,robin\n', [":3: ", "in quotes"]),
        ('path,label\na.png,"wren" x\n', [":2: ", "in quotes"]),
        (
            "path,label,x1,y1,x2,y2\na.png,wren,1,2,3,four\n",
            [":2: column y2 is 'four'; a number of pixels is expected"],
        ),
        ("path,label,x1,y1,x2,y2\na.png,wren,1,2,3,\n", [":2: column y2 is ''"]),
        ("path,label,x1,y1,x2,y2\na.png,wren,1,nan,3,4\n", [":2: column y1 is 'nan'"]),
        ("path,label,x1,y1,x2,y2\na.png,wren,3,2,3,4\n", [":2: column x2 (3) must be above x1 (3)"]),
        ("path,label,x1,y1,x2,y2\na.png,wren,1,5,3,4\n", [":2: column y2 (4) must be above y1 (5)"]),
    ],
)
def test_errors_name_line_and_column(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "photos.csv"
    file.write_text(text)
    message = refused("csv", file)
    assert message.startswith(f"{file}:")
    assert all(word in message for word in words), message


def test_other_encodings_name_the_line(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    file.write_bytes("path,label\nwren/0.png,wren\nrobin/0.png,Drossel größer\n".encode("latin-1"))
    assert f"{file}:3: is not in UTF-8" in refused("csv", file)


def test_too_few_classes(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    write_lines(file, "path,label", *(f"{image},bird" for image in IMAGES))
    assert "all labels are 'bird'" in refused("csv", file)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("eeeeettttt", ":2: label 'wren' is in the test split but has no training images"),
        ("eeeeeeeeee", "no image is in the training split"),
    ],
)
def test_splits_that_cannot_be_trained_on(tmp_path: Path, splits: str, words: str) -> None:
    assert words in refused("csv", write_splits(tmp_path, splits))


def test_one_image_a_class_leaves_nothing_to_test(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    write_lines(file, "path,label", f"{IMAGES[0]},wren", f"{IMAGES[5]},robin")
    assert "nothing is left for testing, since each class has one image only; add images or a test split" in refused(
        "csv", file
    )


def test_groups_of_the_same_table(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    write_lines(file, "path,label,ring", *(f"{image},{image[:4]},{image[:1]}{i % 2}" for i, image in enumerate(IMAGES)))
    index = load(file, group_by=f"csv:{file}:ring", test_fraction=0.4)
    rings = {image: f"{image[:1]}{i % 2}" for i, image in enumerate(IMAGES)}
    assert not {rings[name] for name in index.train.files} & {rings[name] for name in index.test.files}


def test_what_is_no_table_says_so(tmp_path: Path) -> None:
    assert "--data-dir FILE.csv" in refused("csv", None)  # type: ignore[arg-type]
    assert "is a folder; --data-dir names the CSV file" in refused("csv", tmp_path)
    assert "does not exist" in refused("csv", tmp_path / "none.csv")
    write_table(tmp_path)
    assert "--dataset csv" in refused("folder", tmp_path / "photos.csv")


def test_a_dash_is_no_class_and_apostrophes_of_our_own_tables_are_read_back(tmp_path: Path) -> None:
    file = write_photos(tmp_path)
    rows = [f"{image},'={image.partition('/')[0]}" for image in IMAGES]
    rows[0], rows[5] = f"{IMAGES[0]},-", f"{IMAGES[5]},'-"
    write_lines(file, "path,label", *rows)
    index = load(file)
    assert index.classes == ("=robin", "=wren")
    assert set(index.train.files + index.test.files) == set(IMAGES) - {IMAGES[0], IMAGES[5]}
    assert "2 images are of no class (-) and left out" in index.notes
