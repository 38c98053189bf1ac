"""Corrections: what is written is what training reads, whatever classes and files are called."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.errors import FgvcError
from fgvc_cli.serve.corrections import Correction, Corrections
from fgvc_cli.spec.data import DataSpec
from tests.making import noise_jpeg

ODD = ("-dash", "=1+1", 'a "b", c', "Ärger", "plain")


def images(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [noise_jpeg(folder / f"{number:032x}.jpg") for number in range(count)]


def test_training_reads_the_file_as_a_dataset_and_as_fixes(tmp_path: Path) -> None:
    """Three images of each class, one of none; a fix of every image of another table beside it."""
    kept = Corrections(tmp_path / "kept")
    files = images(tmp_path / "sent", 3 * len(ODD) + 1)
    for number, file in enumerate(files[:-1]):
        kept.put(file, ODD[number % len(ODD)], "=guess", 0.5, f"=cmd|'{number}.jpg")
    kept.put(files[-1], None, "plain", 0.9, "../../x.jpg")
    index = load_index(DataSpec(dataset="csv", root=kept.file))
    assert sorted(index.classes) == sorted(ODD)
    assert len(index.train) + len(index.test) == 3 * len(ODD)
    assert any("1 images are of no class" in note for note in index.notes)
    table = kept.folder / "table.csv"
    rows = [f"images/{file.name},{'plain' if place % 2 else 'Ärger'}" for place, file in enumerate(files)]
    table.write_text("path,label\n" + "\n".join([*rows, *more_classes(kept.folder)]))
    fixed = load_index(DataSpec(dataset="csv", root=table, label_fixes=kept.file, test_fraction=0.2))
    labels = {
        name: fixed.classes[label]
        for split in fixed.splits().values()
        for name, label in zip(split.files, split.labels, strict=True)
    }
    assert {labels[f"images/{file.name}"] for file in files[:5]} == set(ODD)
    assert f"images/{files[-1].name}" not in labels


def more_classes(folder: Path) -> list[str]:
    """Rows of a table that has each class."""
    rows = []
    for place, name in enumerate(ODD):
        for number in range(2):
            noise_jpeg(folder / f"more{place}-{number}.jpg")
            quoted = name.replace('"', '""')
            rows.append(f'more{place}-{number}.jpg,"{quoted}"')
    return rows


def test_one_row_an_image_and_it_can_be_taken_back(tmp_path: Path) -> None:
    kept = Corrections(tmp_path / "kept")
    one, other = images(tmp_path / "sent", 2)
    kept.put(one, "wren", "finch", 0.25, "a.jpg")
    kept.put(other, "finch", "finch", 0.5, "b.jpg")
    kept.put(one, None, "finch", 0.25, "a.jpg")
    assert [(found.id, found.class_name) for found in kept.read().values()] == [(other.stem, "finch"), (one.stem, None)]
    copy = kept.folder / "images" / one.name
    assert copy.read_bytes() == one.read_bytes()
    assert kept.remove(one.stem)
    assert not copy.exists()
    assert not kept.remove(one.stem)
    assert not kept.remove("../../etc/passwd")
    assert list(kept.read().values()) == [Correction(f"images/{other.name}", "finch", "finch", "0.500000", "b.jpg")]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    files = images(tmp_path / "sent", 16)
    servers = [Corrections(tmp_path / "kept") for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda place: servers[place % 4].put(files[place], "wren", "", 0, ""), range(16)))
    assert set(servers[0].read()) == {file.stem for file in files}


def test_a_folder_that_is_only_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    [image] = images(tmp_path / "sent", 1)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(FgvcError, match="start fgvc serve with --corrections and another folder"):
        Corrections(tmp_path / "kept").put(image, "wren", "", 0, "")


@pytest.mark.parametrize("text", ['path,label\n"open', "path,label\nimages/x.jpg\n", "what\never\n"])
def test_a_damaged_file_is_one_line_and_stays(tmp_path: Path, text: str) -> None:
    kept = Corrections(tmp_path)
    kept.file.write_text(text)
    [image] = images(tmp_path / "sent", 1)
    with pytest.raises(FgvcError, match="move it away"):
        kept.put(image, "wren", "", 0, "")
    assert kept.file.read_text() == text
