"""Averages of weights: the mean, the greedy recipe beside itself by hand, and runs that do not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.terminal import Console
from fgvc_cli.training.averages.soup import Measure, average_runs, greedy, mean_state
from fgvc_cli.training.train import Machine, resume, train
from tests.conftest import small_spec

QUIET = Console(quiet=True)


def test_the_mean_keeps_types_and_counters() -> None:
    states = [
        {"w": torch.full((2,), value, dtype=torch.float16), "n": torch.tensor(count)}
        for value, count in ((1.0, 3), (2.0, 5), (4.5, 7))
    ]
    mean = mean_state(states)
    assert mean["w"].dtype == torch.float16
    assert mean["w"].tolist() == [2.5, 2.5]
    assert mean["n"].item() == 3


def test_the_greedy_recipe() -> None:
    """Accuracy is 1 - |w - 4|/10, counted in tens; the best is 3, then 6 helps, 0 harms, 5 changes nothing."""
    values = [0.0, 6.0, 3.0, 5.0]

    def measured(state: dict[str, Tensor], _: str) -> Measure:
        return Measure(1 - round(abs(float(state["w"]) - 4)) / 10, 0.0)

    states = [{"w": torch.tensor(value)} for value in values]
    alone = [measured(state, "") for state in states]
    soup = greedy(states, alone, measured)
    members, best = [2], alone[2].top1  # 3.0: 0.9; ties go to the first
    for place in (3, 1, 0):  # by accuracy: 5.0 (0.9), 6.0 (0.8), 0.0 (0.6)
        mean = sum(values[one] for one in [*members, place]) / (len(members) + 1)
        score = 1 - round(abs(mean - 4)) / 10
        if score >= best:
            members, best = [*members, place], score
    assert soup.members == tuple(members)
    assert soup.measure.top1 == best


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two runs of one start that learnt at two rates."""
    folder = tmp_path_factory.mktemp("soup")
    for rate in ("0.02", "0.1"):
        train(small_spec(photos, "baseline", "data.val_fraction=0.25", f"optim.lr={rate}"), folder / rate, QUIET)
    return [RunFolder(folder / rate) for rate in ("0.02", "0.1")]


def test_an_average_is_a_run(runs: list[RunFolder], tmp_path: Path) -> None:
    found = average_runs(runs, tmp_path / "soup", "uniform", EvalRequest("test"), QUIET)
    new = RunFolder(tmp_path / "soup")
    states = [load_trained(run.model_file).method.state_dict() for run in (*runs, new)]
    for name, value in states[2].items():
        if value.is_floating_point():
            assert torch.allclose(value, (states[0][name] + states[1][name]) / 2, atol=1e-6), name
    assert new.evaluation("test")["branches"]["final"]["top1"] == found.result["branches"]["final"]["top1"]
    assert new.calibration_file.exists()
    assert len(json.loads(new.average_file.read_text())["runs"]) == 2
    with pytest.raises(BadRequest, match="an average of other runs: there is nothing to resume"):
        resume(new.path, Machine(), QUIET)


def test_runs_that_do_not_go_together(runs: list[RunFolder], photos: Path, tmp_path: Path) -> None:
    def refused(*sets: str, method: str = "baseline") -> str:
        other = tmp_path / str(len(list(tmp_path.iterdir())))
        train(small_spec(photos, method, "train.epochs=1", *sets), other, QUIET)
        with pytest.raises(BadRequest) as caught:
            average_runs([runs[0], RunFolder(other)], tmp_path / "no", "best", EvalRequest("test"), QUIET)
        assert not (tmp_path / "no").exists()
        return str(caught.value)

    assert "different random weights" in refused("data.val_fraction=0.25", "train.seed=1")
    assert "another method" in refused("data.val_fraction=0.25", method="reaps")
    assert "other validation splits" in refused("data.val_fraction=0.5")
    with pytest.raises(BadRequest, match="two or more runs"):
        average_runs(runs[:1], tmp_path / "no", "best", EvalRequest("test"), QUIET)
