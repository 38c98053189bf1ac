"""`fgvc export`, and `fgvc predict` and `fgvc eval` with what it wrote, as their user sees them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import fgvc_cli as fgvc
from fgvc_cli.export import export as exporting
from fgvc_cli.inference.exported import Exported
from fgvc_cli.terminal import Console
from tests.cli.conftest import Answer
from tests.conftest import disk_of, small_spec, untrained

CLASSES = ("blue", "green", "red")
Command = Callable[..., Answer]
SLOW = pytest.mark.slow
TORCH = ("torch", "torchvision", "scipy", "cv2", "matplotlib", "safetensors", "timm", "tensorboard")


def run_in(folder: Path, photos: Path, method: str, *sets: str) -> Path:
    """A run folder with weights that were never trained, but calibrated."""
    spec = small_spec(photos, method, *sets)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(spec.model_dump_json())
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    untrained(spec, CLASSES, folder / "model.safetensors", temperature=0.5)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("export") / "run", photos, "reaps", "method.units=8")


@pytest.fixture(scope="module")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("plain") / "run", photos, "baseline")


@pytest.fixture(scope="module")
def file(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as ONNX, with evidence and for any number of images."""
    out = tmp_path_factory.mktemp("exported") / "x.onnx"
    request = exporting.ExportRequest(dynamic_batch=True, evidence=True, out=out, images=(str(photos),))
    return exporting.export_run(run, request, Console(stderr=True)).file


def test_the_file_says_all_and_answers_as_the_run(command: Command, run: Path, file: Path, photos: Path) -> None:
    asked = ("predict", photos / "test", "--format", "json", "--boxes", "--min-confidence", "0.4")
    of_run, of_file = command(*asked, "--run", run), command(*asked, "--model", file)
    assert (of_run.code, of_file.code) == (0, 0)
    assert of_file.err.splitlines()[0] == (
        "x.onnx: reaps, 3 classes, exported, fp32, on cpu, probabilities calibrated at temperature 0.500"
    )
    rows = zip(*(map(json.loads, answer.out.splitlines()) for answer in (of_run, of_file)), strict=True)
    for expected, found in rows:
        for key in ("image", "width", "height", "answer", "unsure"):
            assert found[key] == expected[key]
        assert [one["class"] for one in found["top"]] == [one["class"] for one in expected["top"]]
        for one, other in zip(found["top"], expected["top"], strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
        for one, other in zip(found["boxes"]["ran"], expected["boxes"]["ran"], strict=True):
            assert one["xyxy"] == pytest.approx(other["xyxy"], abs=0.02)


def test_evaluation_measures_what_the_run_measures(command: Command, run: Path, file: Path, photos: Path) -> None:
    for more in ((), ("--data-dir", photos / "train", "--name", "mine")):
        expected = json.loads(command("eval", run, "--json", "--no-localisation", *more).out)
        found = json.loads(command("eval", "--model", file, "--json", *more).out)
        for key in ("images", "split", "method", "classes", "epoch", "confusions", "worst_classes"):
            assert found[key] == expected[key], key
        assert found["branches"]["final"] == expected["branches"]["joint"]
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert found["calibration"] == pytest.approx(expected["calibration"], abs=1e-5)
        assert found["selective"] == pytest.approx(expected["selective"], abs=1e-5)


def test_neither_needs_pytorch(file: Path, photos: Path, tmp_path: Path) -> None:
    """A process in which PyTorch and other large packages cannot be imported."""
    block = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {TORCH}: raise ImportError('no ' + name)\n"
        "sys.meta_path.insert(0, No())\n"
        "from fgvc_cli.__main__ import main\n"
        "main()\n"
    )
    for words in (
        ["predict", str(photos / "test"), "--model", str(file), "--boxes", "--set-coverage", "0.5"],
        ["predict", str(photos / "test"), "--model", str(file), "--format", "csv"],
        ["eval", "--model", str(file), "--data-dir", str(photos / "test")],
    ):
        done = subprocess.run([sys.executable, "-c", block, *words], capture_output=True, text=True, check=False)
        if "--set-coverage" in words:
            assert "has no validation images" in done.stderr
            assert done.returncode == 2
        else:
            assert done.returncode == 0, done.stderr


def test_a_program_needs_no_pytorch_either(file: Path, photos: Path) -> None:
    code = (
        "import sys, fgvc_cli as fgvc, numpy\n"
        "from PIL import Image\n"
        f"model, bird = fgvc.load({str(file)!r}), {str(photos / 'test/red/0.png')!r}\n"
        "answer = model.predict(bird, top=2, min_confidence=0.1)\n"
        "assert model.predict(numpy.array(Image.open(bird)), top=2).top == answer.top\n"
        "assert answer.boxes['ran'][0].xyxy[2] <= answer.width\n"
        "print(answer.text, *model.embed([bird, bird]).shape, model.device)\n"
        f"print(sorted({{*{TORCH}}} & {{*sys.modules}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, loaded = done.stdout.splitlines()
    assert answer.split()[0] in CLASSES
    assert answer.split()[1:] == ["2", str(fgvc.load(file).embed(photos / "test/red/0.png").size), "cpu"]
    assert loaded == "[]"


def test_in_a_program_it_says_what_the_run_says(run: Path, file: Path, photos: Path) -> None:
    images = fgvc.images(photos / "test")
    there, here = fgvc.load(file), fgvc.load(run)
    for one, other in zip(there.predict(images), here.predict(images), strict=True):
        assert one.text == other.text
        assert one.top[0].probability == pytest.approx(other.top[0].probability, abs=1e-4)
    assert there.embed(images[0]) == pytest.approx(here.embed(images[0]), abs=1e-3)
    assert fgvc.evaluate(file, data_dir=photos / "test", progress=False).images == 9
    for call in (
        lambda: there.explain(images[0]),
        lambda: there.similar(images[0]),
        lambda: there.predict(images[0], unknown=True),
        lambda: there.predict(images[0], neighbours=1),
        lambda: fgvc.load(file, device="cuda"),
    ):
        with pytest.raises(fgvc.BadRequest, match=r"exported file"):
            call()


def test_thresholds_and_tree_go_along(command: Command, plain: Path, photos: Path, tmp_path: Path) -> None:
    from fgvc_cli.evaluation.certainty.validation import Validation
    from fgvc_cli.runs.folder import RunFolder

    folder = RunFolder(shutil.copytree(plain, tmp_path / "run"))
    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    epoch = json.loads((plain / "run.json").read_text())["train"]["epochs"]
    Validation.of(logits, logits.argmax(1), 0.5).save(folder, epoch, 0.5)
    tree = {"levels": ["kind"], "classes": {"blue": ["cold"], "green": ["cold"], "red": ["warm"]}}
    (tmp_path / "run/taxonomy.json").write_text(json.dumps(tree))
    done = command("export", "run", "--images", photos, "--format", "onnx")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].startswith("33 images through both: largest difference of probabilities ")
    asked = ("predict", photos / "test", "--format", "json", "--target-precision", 0.9, "--set-coverage", 0.8)
    answers = [command(*asked, "--rollup", 0.5, "--run", model) for model in ("run", "run/export/model.onnx")]
    assert answers[0].code == 0, answers[0].err
    of_run, of_file = ([json.loads(line) for line in answer.out.splitlines()] for answer in answers)
    for expected, found in zip(of_run, of_file, strict=True):
        assert (found["answer"], found["set"]) == (expected["answer"], expected["set"])
        assert found["taxon"]["name"] == expected["taxon"]["name"]
    done = command("export", "run", "--images", photos, "--format", "safetensors", "--out", "mine/a.safetensors")
    assert done.code == 0, done.err
    again = command(*asked, "--rollup", 0.5, "--model", "mine/a.safetensors")
    assert again.out == answers[0].out
    alone = command(*asked, "--model", "run/export/model.onnx", "--unknown")
    assert (alone.code, "name the run, not an exported file" in alone.err) == (2, True)


def test_engines_side_by_side(command: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgvc_cli.bench.measure._SINGLE_CALLS", 2)
    asked = ("bench", "infer", "--model", file, "--rounds", 1, "--steps", 1)
    done = command(*asked, "--batch-size", 2, "--json", "-")
    assert done.code == 0, done.err
    [compared] = json.loads(done.out)["comparisons"]
    assert [row["name"] for row in compared["rows"]] == ["eager, folded", "onnxruntime"]
    assert all(row["batch_size"] == 2 and row["images_per_second"] > 0 for row in compared["rows"])
    odd = command(*asked, "--method", "clan", "--stock")
    assert (odd.code, odd.out) == (2, "")
    assert "--model says what is measured: leave --method, --stock out" in odd.err


@pytest.mark.parametrize(("form", "ending"), [("torch", ".pt2"), ("safetensors", ".safetensors")])
def test_other_formats(command: Command, plain: Path, photos: Path, form: str, ending: str) -> None:
    done = command("export", plain, "--format", form, "--images", photos, "--out", f"a{ending}")
    assert done.code == 0, done.err
    assert done.out.startswith(f"a{ending}: ")
    assert "100.0 % equal answers" in done.out
    if form == "torch":
        extra = {"fgvc.json": ""}
        torch.export.load(f"a{ending}", extra_files=extra)
        assert json.loads(extra["fgvc.json"])["classes"] == list(CLASSES)


@pytest.mark.parametrize(("form", "ending"), [("torch", ".pt2"), ("safetensors", ".safetensors")])
def test_weights_in_16_bits(command: Command, plain: Path, photos: Path, form: str, ending: str) -> None:
    asked = ("export", plain, "--format", form, "--images", photos, "--max-loss", 0.1)
    sizes = {}
    for precision in ("fp32", "fp16"):
        done = command(*asked, "--precision", precision, "--out", f"{precision}{ending}")
        assert done.code == 0, done.err
        assert "accuracy on the 33 of known class: run " in done.out
        sizes[precision] = Path(f"{precision}{ending}").stat().st_size
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_a_file_that_answers_otherwise_is_not_left(
    command: Command, plain: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(self: Exported, images: np.ndarray, names: object = ("probabilities",)) -> dict[str, np.ndarray]:
        found = np.full((len(images), 3), 1 / 3, dtype=np.float32)
        return {"probabilities": found + np.array([0.01, 0, -0.01], dtype=np.float32)}

    monkeypatch.setattr(Exported, "run", other)
    done = command("export", plain, "--images", photos, "--format", "torch", "--out", "a.pt2")
    assert done.code == 1
    assert "the exported file answers otherwise than the run" in done.err
    assert "so nothing is written" in done.err
    assert list(Path().iterdir()) == []


def test_a_missing_operator_is_named_with_what_avoids_it(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgvc_cli.export.onnx_file._translations", dict)
    run = run_in(tmp_path / "run", photos, "scapnet")
    done = command("export", run, "--images", photos)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        "fgvc: scapnet on tiny: the operator aten.sort.stable has no form in ONNX: export with --format torch or "
        "safetensors, or train with --set method.parts=off"
    )
    assert list((run / "export").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_files(command: Command, plain: Path, photos: Path, precision: str) -> None:
    asked = ("export", plain, "--images", photos, "--precision", precision, "--out", "a.onnx")
    done = command(*asked, "--max-loss", 0.5)
    assert done.code == 0, done.err
    assert "accuracy on the 33 of known class: run " in done.out
    assert command("predict", photos / "test", "--model", "a.onnx").code == 0
    size = Path("a.onnx").stat().st_size
    assert size < 0.7 * command_size(command, plain, photos)


def command_size(command: Command, plain: Path, photos: Path) -> int:
    assert command("export", plain, "--images", photos, "--out", "whole.onnx").code == 0
    return Path("whole.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{run}"], "on at least 32 images, and 24 are in the run's training split: name more with --images"),
        (["{run}", "--precision", "int8"], "has no validation images: name some with --images"),
        (["{run}", "--images", "{photos}/test"], "on at least 32 images, and 9 are named"),
        (["{run}", "--images", "gone"], "gone: there is no such file or folder"),
        (
            ["{run}/model.safetensors", "--images", "{photos}", "--precision", "int8", "--calibration", "no"],
            "no: there",
        ),
        (["{alone}", "--images", "{photos}", "--precision", "int8"], "has no training images: name some with"),
        (["{alone}"], "is in no run folder, so it has no validation images: name some with --images"),
        (["{run}", "--format", "tflite"], "--format tflite: choose onnx, torch or safetensors"),
        (
            ["{run}", "--format", "torch", "--precision", "int8"],
            "--precision int8: --format torch has fp32 and fp16; int8 is written by --format onnx",
        ),
        (["{run}", "--precision", "fp8"], "--precision fp8: --format onnx has fp32 and fp16 and int8"),
        (["{run}", "--format", "safetensors", "--evidence"], "--evidence is for onnx and torch"),
        (["{run}", "--calibration", "{photos}"], "--calibration is for --precision int8"),
        (["{run}", "--out", "a.pth"], "--out a.pth: a file of --format onnx ends in .onnx"),
        (["{run}", "--format", "safetensors", "--images", "{photos}", "--out", "{run}/model.safetensors"], "the model"),
        (["nowhere"], "there is no run at nowhere"),
    ],
)
def test_bad_requests(
    command: Command, plain: Path, photos: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    alone = shutil.copy(plain / "model.safetensors", tmp_path / "alone.safetensors")
    done = command("export", *(word.format(run=plain, photos=photos, alone=alone) for word in arguments))
    assert (done.code, done.out) == (2, "")
    assert line in done.err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.safetensors"]


def test_without_a_validation_split_it_is_compared_on_training_images(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    more = shutil.copytree(photos, tmp_path / "photos")
    for file in [*more.glob("train/*/*.png")]:
        shutil.copy(file, file.with_stem(f"again-{file.stem}"))
    run = run_in(tmp_path / "run", more, "baseline")
    done = command("export", run, "--format", "safetensors")
    assert done.code == 0, done.err
    assert "48 images through both" in done.out
    assert "accuracy" not in done.out
    done = command("export", run, "--format", "safetensors", "--precision", "fp16")
    assert done.code == 2
    assert "has no validation images: name some with --images" in done.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict", "{photos}", "--neighbours", 3], "--neighbours shows training images"),
        (["predict", "{photos}", "--device", "cuda"], "--device cuda: an exported file answers on the CPU"),
        (["predict", "{photos}", "--precision", "bf16"], "--precision bf16: that of an exported file was chosen"),
        (["eval", "--retrieval"], "--retrieval needs the run"),
        (["eval", "--split", "val"], "fgvc drew the run's val split"),
    ],
)
def test_what_an_exported_file_cannot_do(
    command: Command, file: Path, photos: Path, arguments: list[object], line: str
) -> None:
    done = command(*(str(word).format(photos=photos) for word in arguments), "--model", file)
    assert (done.code, done.out) == (2, "")
    assert line in done.err.splitlines()[-1]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    with disk_of(tmp_path / "small", 1) as folder:
        yield folder


@pytest.mark.parametrize("form", [pytest.param("onnx", marks=SLOW), pytest.param("torch", marks=SLOW), "safetensors"])
def test_a_full_disk(command: Command, run: Path, photos: Path, full: Path, form: str) -> None:
    ending = exporting.ENDINGS[form]
    done = command("export", run, "--format", form, "--images", photos, "--out", full / f"a{ending}")
    assert done.code == 1
    assert "the disk is full" in done.err.splitlines()[-1]
    assert list(full.iterdir()) == []


def test_no_permission(command: Command, plain: Path, photos: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "a").write_text("a file where a folder should be")
        done = command("export", plain, "--images", photos, "--out", "a/x.onnx")
    else:
        (tmp_path / "a").mkdir(mode=0o500)
        done = command("export", plain, "--images", photos, "--out", "a/x.onnx")
    assert done.code == 1
    assert "cannot write a/x.onnx: " in done.err.splitlines()[-1]
