"""What can be got wrong, each with the line that a newcomer reads and the exit code. Nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgvc_cli.cli.main import main

SMALL = (
    "--dataset folder --image-size 32 --backbone tiny --weights none --batch-size 4 --epochs 1 --device cpu --workers 0"
)
TRAIN = f"train {SMALL} --data-dir photos"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(len(str(path))).randint(0, 255, (40, 40, 3)).astype(np.uint8)).save(path)


def photos(root: Path, *classes: str, count: int = 4) -> None:
    for name in classes:
        for number in range(count):
            picture(root / "photos" / name / f"{number}.png")


def two_classes(root: Path) -> None:
    photos(root, "a", "b")


def one_class(root: Path) -> None:
    photos(root, "a")


def no_images(root: Path) -> None:
    (root / "photos/a").mkdir(parents=True)
    (root / "photos/b").mkdir()


def an_empty_class(root: Path) -> None:
    two_classes(root)
    (root / "photos/c").mkdir()


def a_text_named_png(root: Path) -> None:
    two_classes(root)
    (root / "photos/a/0.png").write_text("hello")


def an_empty_image(root: Path) -> None:
    two_classes(root)
    (root / "photos/a/0.png").write_bytes(b"")


def a_truncated_image(root: Path) -> None:
    two_classes(root)
    file = root / "photos/a/0.png"
    file.write_bytes(file.read_bytes()[:-1000])


def two_years(root: Path) -> None:
    photos(root, "2019/a", "2019/b", "2020/a", "2020/b")


def a_test_class_without_training(root: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "test/c"):
        photos(root, name)


def a_file_for_a_folder(root: Path) -> None:
    (root / "photos").write_text("hello")


def a_pickle_of_code(root: Path) -> None:
    two_classes(root)
    torch.save({"layer": Path}, root / "weights.pth")


def no_weights(root: Path) -> None:
    two_classes(root)
    (root / "weights.pth").write_text("hello")
    (root / "weights.safetensors").write_text("hello")


def other_weights(root: Path) -> None:
    two_classes(root)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, root / "weights.pth")


def a_broken_run(root: Path) -> None:
    (root / "run").mkdir()
    (root / "run/run.json").write_text("{")


def a_run_without_a_model(root: Path) -> None:
    from fgvc_cli.spec.build import build_spec

    (root / "run").mkdir()
    (root / "run/run.json").write_text(build_spec().model_dump_json())


def a_run_of_tomorrow(root: Path) -> None:
    (root / "run").mkdir()
    (root / "run/run.json").write_text(json.dumps({"schema_version": 99}))


def nothing(root: Path) -> None:
    pass


CASES = [
    (nothing, "train --foo", 2, "No such option"),
    (nothing, "frain", 2, "No such command 'frain'"),
    (nothing, "train extra", 2, "unexpected extra argument"),
    (nothing, "train --epochs", 2, "requires an argument"),
    (nothing, "train --epochs many", 2, "Invalid value for '--epochs'"),
    (nothing, "train --lr fast", 2, "Invalid value for '--lr'"),
    (nothing, "train --epochs 0", 2, "train.epochs: must be at least 1 (got 0)"),
    (nothing, "train --epochs -3", 2, "train.epochs: must be at least 1 (got -3)"),
    (nothing, "train --batch-size 0", 2, "train.batch_size: must be at least 1 (got 0)"),
    (nothing, "train --lr 0", 2, "optim.lr: must be above 0"),
    (nothing, "train --lr nan", 2, "optim.lr: must be a finite number"),
    (nothing, "train --image-size 8", 2, "data.image_size: must be at least 32, or 'auto' (got 8)"),
    (nothing, "train --seed -1", 2, "train.seed: must be at least 0 (got -1)"),
    (nothing, "train --workers -1", 2, "data.workers: must be at least 0 (got -1)"),
    (nothing, "train --val-fraction 1", 2, "data.val_fraction: must be below 1"),
    (nothing, "train --limit-train 0", 2, "data.limit_train: must be at least 1 (got 0)"),
    (nothing, "train --precision fp8", 2, "train.precision: must be 'fp32', 'bf16' or 'fp16' (got 'fp8')"),
    (nothing, "train --device gpu", 2, "train.device: must be auto, cpu, mps, cuda or cuda:N"),
    (nothing, "train --device cuda:7", 2, "--device cuda"),
    (nothing, "train --backbone resnet9", 2, "backbone.name: no backbone is called 'resnet9'"),
    (nothing, "train --method cnn", 2, "no method is called 'cnn'; there are"),
    (nothing, "methods cnn", 2, "no method is called 'cnn'; there are"),
    (nothing, "train --dataset cats", 2, "no dataset is called 'cats'; there are"),
    (nothing, "train --preset reaps-cats", 2, "no preset is called 'reaps-cats'; `fgvc presets` lists them"),
    (nothing, "train --preset reaps-cub --method baseline", 2, "preset reaps-cub is for method reaps, not baseline"),
    (nothing, "train --set method.tau", 2, "--set takes FIELD=VALUE"),
    (nothing, "train --method reaps --set method.tua=1", 2, "method.tua: there is no such field; did you mean tau?"),
    (nothing, "train --config nowhere.json", 2, "cannot read --config nowhere.json: No such file"),
    (a_broken_run, "train --config run", 2, "is not valid JSON: line 1"),
    (a_run_of_tomorrow, "train --config run", 2, "this spec has schema version 99"),
    (nothing, "train --resume nowhere", 2, "there is no run at nowhere"),
    (two_classes, "train --resume photos", 2, "photos is not a run folder: it has no run.json"),
    (nothing, "train --resume x --epochs 9", 2, "`fgvc train --config x --weights x` with --epochs"),
    (two_classes, f"{TRAIN} --out photos", 2, "photos exists and is not a run folder: give --out a new folder"),
    (nothing, "train --dataset cub", 2, "CUB-200-2011 birds not found"),
    (nothing, "train --dataset cars --data-dir nowhere", 2, "Stanford Cars not found"),
    (nothing, f"train {SMALL}", 2, "--data-dir"),
    (nothing, TRAIN, 2, "photos"),
    (a_file_for_a_folder, TRAIN, 2, "photos"),
    (no_images, TRAIN, 2, "photos"),
    (one_class, TRAIN, 2, "class"),
    (an_empty_class, TRAIN, 2, "c"),
    (a_test_class_without_training, TRAIN, 2, "c"),
    (two_years, TRAIN, 2, "'2019' and '2020' hold the same folders (a, b) and look like splits"),
    (two_years, f"{TRAIN} --test-dir 2020", 2, "data: test_dir needs train_dir too"),
    (two_years, f"{TRAIN} --train-dir 2018", 2, "photos/2018 is not a folder"),
    (nothing, "train --dataset cub --train-dir x", 2, "data: train_dir is only for the dataset folder"),
    (a_text_named_png, TRAIN, None, "0.png"),
    (an_empty_image, TRAIN, None, "0.png"),
    (a_truncated_image, TRAIN, None, "0.png"),
    (two_classes, f"{TRAIN} --weights nowhere.pth", 2, "there is no file or folder"),
    (no_weights, f"{TRAIN} --weights weights.pth", 2, "is not a weights file"),
    (no_weights, f"{TRAIN} --weights weights.safetensors", 2, "is not a safetensors file"),
    (a_pickle_of_code, f"{TRAIN} --weights weights.pth", 2, "holds objects other than tensors, which are never loaded"),
    (other_weights, f"{TRAIN} --weights weights.pth", 2, "weights"),
    (two_classes, f"{TRAIN} --weights imagenet", 2, "tiny has no ImageNet weights"),
    (two_classes, f"{TRAIN} --backbone timm:resnet1800", 2, "resnet1800"),
    (nothing, "eval", 2, "no trained run under runs/"),
    (nothing, "eval nowhere", 2, "there is no run at nowhere"),
    (a_broken_run, "eval run", None, "run"),
    (a_run_without_a_model, "eval run", 2, "there is no trained model at run/model.safetensors"),
    (nothing, "presets show nothing", 2, "no preset is called 'nothing'"),
    (nothing, "summary --dataset folder", 2, "give the number of classes with --classes"),
    (nothing, "summary --classes 1", 2, "--classes (2 to 1,000,000)"),
]


@pytest.mark.parametrize(
    ("prepare", "line", "code", "words"), CASES, ids=[f"{case[0].__name__}: {case[1][:60]}" for case in CASES]
)
def test_one_line_and_an_exit_code(command, tmp_path, prepare, line, code, words) -> None:
    prepare(tmp_path)
    answer = command(*line.split())
    assert answer.code == code if code else answer.code in (1, 2), answer
    messages = [text for text in answer.err.strip().splitlines() if not text.startswith("note: ")]
    assert len(messages) == 1, answer.err
    assert messages[0].startswith("fgvc: ")
    assert words in messages[0]
    assert "Traceback" not in answer.err
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_folder(command, tmp_path) -> None:
    two_classes(tmp_path)
    (tmp_path / "file").write_text("")
    answer = command(*TRAIN.split(), "--out", "file/run")
    assert answer.code == 1
    assert answer.err.strip().splitlines()[-1].startswith("fgvc: cannot write file/run: Not a directory")


def test_a_traceback_only_when_asked_for(command, monkeypatch) -> None:
    from fgvc_cli.spec import presets

    def breaks(name: str) -> None:
        raise RuntimeError("an odd thing")

    monkeypatch.setattr(presets, "load_preset", breaks)
    answer = command("presets", "show", "x")
    assert (answer.code, answer.err.strip()) == (
        1,
        "fgvc: RuntimeError: an odd thing (--debug before the command shows where)",
    )
    monkeypatch.setattr("sys.argv", ["fgvc", "--debug", "presets", "show", "x"])
    with pytest.raises(RuntimeError, match="an odd thing"):
        main()


def test_a_run_that_another_process_writes(command, tmp_path, photos_run) -> None:
    from fgvc_cli.runs.folder import RunFolder

    with RunFolder(photos_run).locked():
        answer = command("train", "--resume", photos_run)
    assert answer.code == 2
    assert "another process is writing" in answer.err


@pytest.fixture
def photos_run(command, tmp_path) -> Path:
    two_classes(tmp_path)
    answer = command(*TRAIN.split(), "--out", "run")
    assert answer.code == 0, answer.err
    shutil.rmtree(tmp_path / "run/eval")
    return tmp_path / "run"
