from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import log_loss

from fgvc_cli.evaluation import calibration as calibration_module
from fgvc_cli.evaluation.calibration import calibrate_run, fit, fit_temperature
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.metrics import calibration_error
from fgvc_cli.inference.dataset import open_index
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.runs.checkpoint import load_model, save_model
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training import train as train_module
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def drawn(temperature: float, images: int = 40_000, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax at `temperature` is the probability that the labels were drawn with."""
    dice = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(images, classes, generator=dice)
    labels = torch.multinomial(true.softmax(1), 1, generator=dice)[:, 0]
    return true * temperature, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_found(temperature) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.02)
    result = fit(logits, labels)
    assert result["fitted"]
    assert result["ece_after"] < 0.01
    if temperature != 1:
        assert result["ece_before"] > 5 * result["ece_after"]
        assert result["nll_after"] < result["nll_before"]


def test_it_is_the_minimum_and_always_the_same() -> None:
    logits, labels = drawn(2.5, 500)
    found = fit_temperature(logits, labels)

    def nll(temperature: float) -> float:
        return log_loss(labels, (logits.double() / temperature).softmax(1), labels=range(10))

    assert nll(found) < min(nll(found * 1.001), nll(found / 1.001))
    assert fit(logits, labels)["nll_after"] == pytest.approx(nll(found))
    assert all(fit_temperature(logits, labels) == found for _ in range(3))


def test_log_probabilities_have_the_temperature_of_their_logits() -> None:
    logits, labels = drawn(1.7, 2000)
    assert fit_temperature(logits.log_softmax(1), labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-5)


def test_classes_ruled_out_by_the_method_do_no_harm() -> None:
    logits, labels = drawn(1.7, 2000)
    ruled_out = torch.full((2000, 3), -torch.inf)
    assert fit_temperature(torch.cat([logits, ruled_out], 1), labels) == pytest.approx(fit_temperature(logits, labels))


def test_many_classes_are_looked_at_in_pieces(monkeypatch) -> None:
    logits, labels = drawn(1.7, 1003)
    whole = fit(logits, labels)
    monkeypatch.setattr(calibration_module, "_CHUNK", 64)
    assert fit(logits, labels) == pytest.approx(whole)


@pytest.mark.parametrize("sign", [1, -1])
def test_without_a_peak_of_the_likelihood_it_stays_one(sign) -> None:
    """All right: the surer the likelier. All wrong: the less sure the likelier."""
    labels = torch.arange(30) % 3
    logits = sign * torch.nn.functional.one_hot(labels, 3).float()
    result = fit(logits, labels)
    assert (result["temperature"], result["fitted"]) == (1.0, False)
    assert result["ece_before"] == result["ece_after"]


# ---- runs


@pytest.fixture(scope="module")
def calibrated(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "run"
    train(held_out_spec(photos), out, quiet())
    return out


def held_out_spec(photos: Path):
    return small_spec(photos, "baseline", "data.val_fraction=0.5", "optim.lr=0.05")


@pytest.fixture
def sharp(calibrated, photos, tmp_path) -> RunFolder:
    """The run with a classifier five times too sure and no temperature yet."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(calibrated, run.path)
    weights, about = load_model(run.model_file)
    last = [name for name in weights if name.startswith("classifier.")]
    weights |= {name: 5 * weights[name] for name in last}
    del about["temperature"]
    save_model(run.model_file, weights, about)
    (run.path / "calibration.json").unlink()
    return run


def calibrate(run: RunFolder):
    return calibrate_run(run, EvalRequest(), open_index(run, run.spec().data, quiet()), quiet())


def test_training_calibrates_on_the_held_out_part(calibrated) -> None:
    kept = json.loads((calibrated / "calibration.json").read_text())
    assert {"temperature", "fitted", "split", "images", "epoch", "ece_before", "ece_after"} <= set(kept)
    assert (kept["split"], kept["images"], kept["fitted"]) == ("val", 12, True)
    assert load_trained(calibrated / "model.safetensors").temperature == kept["temperature"]


def test_the_model_file_alone_gives_calibrated_probabilities(sharp, tmp_path) -> None:
    before = load_file(sharp.model_file)
    assert load_trained(sharp.model_file).temperature == 1
    result = calibrate(sharp)
    assert result["fitted"]
    assert result["nll_after"] < result["nll_before"]
    after = load_file(sharp.model_file)
    assert all(torch.equal(before[name], after[name]) for name in before)
    alone = shutil.copy(sharp.model_file, tmp_path / "alone.safetensors")
    assert load_trained(Path(alone)).temperature == result["temperature"] != 1


def test_evaluation_reports_both(sharp) -> None:
    plain = evaluate_run(sharp, EvalRequest("val"), quiet())
    assert set(plain["calibration"]) == {"ece"}
    kept = calibrate(sharp)
    found = evaluate_run(sharp, EvalRequest("val"), quiet())["calibration"]
    assert found["ece"] == plain["calibration"]["ece"] == pytest.approx(kept["ece_before"], abs=1e-6)
    assert found["temperature"] == kept["temperature"]
    assert found["ece_calibrated"] == pytest.approx(kept["ece_after"], abs=1e-6)


def test_once_is_enough(sharp) -> None:
    first = calibrate(sharp)
    times = [file.stat().st_mtime_ns for file in (sharp.model_file, sharp.path / "calibration.json")]
    assert calibrate(sharp) == first
    assert times == [file.stat().st_mtime_ns for file in (sharp.model_file, sharp.path / "calibration.json")]


def test_the_fit_of_another_model_does_not_count(sharp) -> None:
    first = calibrate(sharp)
    weights, about = load_model(sharp.model_file)
    last = {name: 2 * weights[name] for name in weights if name.startswith("classifier.")}
    del about["temperature"]  # as training saves it
    save_model(sharp.model_file, weights | last, about)
    assert calibrate(sharp)["temperature"] == pytest.approx(2 * first["temperature"], rel=1e-4)


def test_without_a_held_out_part_there_is_no_temperature(photos, tmp_path) -> None:
    out = tmp_path / "run"
    result = train(small_spec(photos, "baseline", "train.epochs=1"), out, quiet())
    assert not (out / "calibration.json").exists()
    assert "temperature" not in load_model(out / "model.safetensors")[1]
    assert set(result["calibration"]) == {"ece"}


class Killed(BaseException):
    """Stands for kill -9."""


def dies(*_, **__):
    raise Killed


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (calibration_module, "save_model"),  # fitted, nothing written
        (calibration_module, "write_json"),  # in the model, calibration.json missing
        (train_module, "evaluate_run"),  # both written, not evaluated
    ],
)
def test_killed_around_calibration_and_resumed(calibrated, photos, tmp_path, monkeypatch, module, name) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(module, name, dies)
        with pytest.raises(Killed):
            train(held_out_spec(photos), out, quiet())
    assert not (out / "eval/test.json").exists()
    resume(out, Machine(), quiet())
    assert (out / "calibration.json").read_text() == (calibrated / "calibration.json").read_text()
    (one, about_one), (two, about_two) = (load_model(run / "model.safetensors") for run in (calibrated, out))
    assert about_one == about_two
    assert all(torch.equal(one[weight], two[weight]) for weight in one)
    texts = [json.loads((run / "eval/test.json").read_text()) for run in (calibrated, out)]
    assert {key: texts[0][key] for key in texts[0] if key != "run"} == {
        key: texts[1][key] for key in texts[1] if key != "run"
    }


def test_the_error_agrees_with_a_loop() -> None:
    dice = np.random.RandomState(0)
    confidence, right = dice.rand(1000), dice.rand(1000) < 0.6
    total = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(total)
