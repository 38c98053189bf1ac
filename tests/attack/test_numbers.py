"""Numbers too long, too large or no numbers, and deep nesting: exit code 2 and one line that names the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from fgvc_cli.cli.main import main
from fgvc_cli.data.datasets import load_index
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.evaluation.confusion import Confusion, read_classes
from fgvc_cli.machine.device import resolve_device
from fgvc_cli.machine.distributed import launched
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.values import brief, coordinate, natural, parse, whole
from tests.data.datasets.refusals import refused
from tests.data.small_archives import spec_of, write_cub, write_lines
from tests.data.trees import write_dogs, write_flowers, write_inat, write_vegfru

TWENTY, ENDLESS = "9" * 20, "9" * 5000
NUMBERS = [TWENTY, f"-{TWENTY}", ENDLESS, "1e308", "-1e308", "1e400", "NaN", "Infinity", "-Infinity", "9" * 400]
DEEP = ["[" * 1000 + "]" * 1000, '{"a":' * 1000 + "1" + "}" * 1000, "[" * 100_000]
short = pytest.mark.parametrize("value", NUMBERS, ids=lambda text: text[:22])
deep = pytest.mark.parametrize("value", DEEP, ids=("lists", "objects", "cut off"))


def one_line(error: pytest.ExceptionInfo[FgvcError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400, message
    assert type(error.value) is BadRequest
    return message


# ---- the spec


def fields(tree: dict[str, Any], kind: type, prefix: str = "") -> list[str]:
    """The dotted names of all numbers of that kind in a spec."""
    found = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += fields(value, kind, f"{prefix}{key}.")
        elif type(value) is kind:
            found.append(f"{prefix}{key}")
    return found


OPTIONAL = (
    *("train.eval_batch_size", "train.threads", "train.patience", "train.checkpoint_every", "data.workers"),
    *("data.limit_train", "data.limit_test", "data.resize", "optim.lr_images"),
)


@short
@pytest.mark.parametrize("method", METHOD_SPECS)
def test_every_number_of_a_spec(method: str, value: str) -> None:
    tree = build_spec(method=method, dataset="folder").model_dump()
    fractions = (
        [] if value.endswith(TWENTY) and len(value) < 22 else fields(tree, float)
    )  # there 1e20 is like any other
    for field in {*fields(tree, int), *OPTIONAL, *fractions}:
        with pytest.raises(FgvcError) as error:
            build_spec(method=method, dataset="folder", sets=[f"{field}={value}"])
        assert one_line(error).startswith(f"{field}: must be "), field


@short
def test_the_same_in_a_file(value: str, tmp_path: Path) -> None:
    tree = build_spec(method="baseline", dataset="folder").model_dump(mode="json")
    tree["train"]["batch_size"] = "HERE"
    (tmp_path / "run.json").write_text(json.dumps(tree).replace('"HERE"', value))
    with pytest.raises(FgvcError, match=r"^train\.batch_size: must be ") as error:
        build_spec(config=tmp_path)
    one_line(error)
    with pytest.raises(FgvcError, match=r"train\.batch_size: must be "):
        RunFolder(tmp_path).spec()


@deep
def test_deep_nesting(value: str, tmp_path: Path) -> None:
    with pytest.raises(FgvcError, match=r"optim\.lr") as error:
        build_spec(sets=[f"optim.lr={value}"])
    one_line(error)
    for text in (value, f'{{"optim": {{"lr": {value}}}}}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(FgvcError, match=r"run\.json|optim\.lr"):
            build_spec(config=tmp_path)
        with pytest.raises(FgvcError, match=r"run\.json|optim\.lr"):
            RunFolder(tmp_path).spec()


def test_a_field_name_of_a_thousand_parts() -> None:
    with pytest.raises(FgvcError, match=r"^a: there is no such field") as error:
        build_spec(sets=["a." * 1000 + "b=1"])
    one_line(error)


@pytest.mark.parametrize("device", [f"cuda:{TWENTY}", f"cuda:{ENDLESS}", "cuda:200", "cuda:00", "cuda:١", "cuda:-1"])
def test_device_names(device: str) -> None:
    with pytest.raises(FgvcError, match=r"^train\.device: must be auto, cpu, mps, cuda or cuda:N") as error:
        build_spec(flags={"train.device": device})
    one_line(error)


def test_the_largest_device_is_looked_for() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(BadRequest, match="--device cuda"):
            resolve_device("cuda:99")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (f"train --epochs {TWENTY}", "train.epochs"),
        (f"train --epochs {ENDLESS}", "--epochs"),
        ("train --epochs 1e308", "--epochs"),
        ("train --lr nan", "optim.lr"),
        ("train --lr 1e308", "optim.lr"),
        (f"train --seed {TWENTY}", "train.seed"),
        (f"eval nothing --batch-size {ENDLESS}", "--batch-size"),
        ("predict x.png --min-confidence nan", "--min-confidence"),
        ("predict x.png --min-confidence inf", "--min-confidence"),
        ("viz cam x.png --alpha nan", "--alpha"),
        (f"summary --classes {TWENTY}", "--classes"),
    ],
    ids=lambda text: text[:40],
)
def test_flags(arguments: str, field: str, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fgvc", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert (end.value.code, len(lines)) == (2, 1), lines
    assert field in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [TWENTY, ENDLESS, "x", "-1", "1.5", ""])
def test_what_torchrun_says(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", value)
    with pytest.raises(FgvcError, match=r"^environment variable RANK: ") as error:
        launched()
    one_line(error)


# ---- tables and lists


@pytest.mark.parametrize("value", [*NUMBERS, "1e9", "x"], ids=lambda text: text[:22])
def test_boxes_of_a_table(value: str, tmp_path: Path) -> None:
    lines = [f"{name}.png,{name[0]},0,0,5,{value if name == 'a1' else 5}" for name in ("a1", "a2", "b1", "b2")]
    write_lines(tmp_path / "list.csv", "path,label,x1,y1,x2,y2", *lines)
    message = refused("csv", tmp_path / "list.csv")
    assert "list.csv:2: column y2 " in message
    assert len(message) < 400


@pytest.mark.parametrize("value", [TWENTY, ENDLESS, "1e308", "nan", "inf"], ids=lambda text: text[:22])
def test_lists_of_datasets(value: str, tmp_path: Path) -> None:
    for name, columns in (
        ("bounding_boxes.txt", f"1 {value} 2 3 4"),
        ("train_test_split.txt", f"1 {value}"),
        ("image_class_labels.txt", f"1 {value}"),
        ("classes.txt", f"{value} a"),
    ):
        root = write_cub(tmp_path / name)
        lines = (root / name).read_text().splitlines()
        write_lines(root / name, columns, *lines[1:])
        message = refused("cub", tmp_path / name)
        assert name in message
        assert len(message) < 400
    root = write_vegfru(tmp_path)
    write_lines(root / "veg200_lists" / "veg_train.txt", f"dandelion/a.jpg {value}")
    assert "veg_train.txt:1" in refused("vegfru", tmp_path)


@pytest.mark.parametrize("value", [1e308, np.nan, np.inf, 1.5, 2.0**63])
def test_numbers_of_matlab_files(value: float, tmp_path: Path) -> None:
    root = write_flowers(tmp_path)
    labels = np.ones((1, 12))
    labels[0, 3] = value
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels})
    assert "imagelabels.mat: labels must be a whole number (got " in refused("flowers", tmp_path)


def test_boxes_of_dogs(tmp_path: Path) -> None:
    root = write_dogs(tmp_path)
    files = sorted((root / "Annotation").rglob("*_1"))
    for file, value in zip(files, (ENDLESS, "1e308", "nan"), strict=True):
        file.write_text(file.read_text().replace("<xmax>20</xmax>", f"<xmax>{value}</xmax>"))
    index = load_index(spec_of("dogs", tmp_path))
    assert any("3 of 9 images have no true box" in note for note in index.notes)
    assert all(np.isfinite(split.boxes).all() for split in index.splits().values() if split.boxes is not None)


@pytest.mark.parametrize(
    ("key", "field"),
    [("annotations", "category_id"), ("annotations", "image_id"), ("images", "id"), ("categories", "id")],
)
def test_numbers_of_a_coco_file(key: str, field: str, tmp_path: Path) -> None:
    path = write_inat(tmp_path) / "train.json"
    tree = json.loads(path.read_text())
    tree[key][1][field] = "HERE"
    for value in (*NUMBERS, "true", "null", '"7"', "[7]", "1.5"):
        path.write_text(json.dumps(tree).replace('"HERE"', value))
        message = refused("inat2021", tmp_path)
        assert f"train.json: {key} holds " in message, (value[:20], message)
        assert f"{field} must be a whole number (got " in message
        assert len(message) < 400


@deep
def test_nesting_of_a_coco_file(value: str, tmp_path: Path) -> None:
    path = write_inat(tmp_path) / "train.json"
    for text in (value, f'{{"images": [{value}]}}', path.read_text().replace('"latitude": null', f'"x": {value}')):
        path.write_text(text)
        message = refused("inat2021", tmp_path)
        assert "train.json: " in message
        assert len(message) < 400


@pytest.mark.parametrize("value", [TWENTY, ENDLESS, "1e308", "nan", "-1", "1.5", "x", ""])
def test_counts_that_evaluation_wrote(value: str, tmp_path: Path) -> None:
    file = tmp_path / "test-confusion.csv"
    write_lines(file, "true \\ predicted,a,b", f"a,{value},0", "b,0,1")
    with pytest.raises(FgvcError, match=r"cannot read .*test-confusion\.csv"):
        Confusion.read(file, ("a", "b"))
    write_lines(file, "class,images,precision,recall,f1", f"a,{value},0,0,0")
    with pytest.raises(FgvcError, match=r"cannot read .*test-confusion\.csv"):
        read_classes(file)


# ---- the functions


def test_what_counts_as_a_number() -> None:
    assert [parse("1"), parse("-7"), parse("9" * 18)] == [1, -7, int("9" * 18)]
    assert [natural("0"), natural("9" * 18), coordinate("-3.5"), whole(3.0), whole(np.uint8(7))] == [
        *(0, int("9" * 18), -3.5, 3, 7)
    ]
    refusing: list[tuple[Callable[[Any], object], Any]] = [
        *((natural, text) for text in ("", "-1", "1.5", "²", "1_0", "9" * 19)),
        *((coordinate, text) for text in ("", "nan", "inf", "2e7", "x")),
        *((whole, value) for value in ("7", None, 1.5, [1], 10**18, float("nan"), b"7", True)),
    ]
    for convert, value in refusing:
        with pytest.raises(ValueError, match=r".") as error:
            convert(value)
        assert "\n" not in str(error.value)


def test_long_values_are_shown_in_brief() -> None:
    tree: Any = 1
    for _ in range(900):
        tree = {"a": [tree]}
    assert all(len(brief(value)) <= 60 for value in (tree, "x" * 10_000, "9" * 5000, 10**4000, list(range(1000))))
    assert brief("four") == "'four'"
