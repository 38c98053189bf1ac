"""Every method's steps and looks beside the plain backbone, on a tiny network."""

from __future__ import annotations

import json

import pytest
import torch

from fgvc_cli.backbones import resolved
from fgvc_cli.bench import measure as module
from fgvc_cli.bench import photographs
from fgvc_cli.bench.cases import cases_of, comparable
from fgvc_cli.bench.feed import opened_feeds
from fgvc_cli.bench.measure import Plan, _affordable, measure
from fgvc_cli.bench.profiler import STEPS, record
from fgvc_cli.bench.rows import Ratios
from fgvc_cli.bench.ways import StockInference, StockTraining, Training, build_way
from fgvc_cli.errors import FgvcError
from fgvc_cli.machine import compiling
from fgvc_cli.methods.cost import summarize
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from tests.conftest import STEPPED

CPU = torch.device("cpu")
SMALL = {"backbone.name": "tiny", "backbone.weights": "none", "data.image_size": 64, "train.batch_size": 2}


@pytest.fixture(autouse=True)
def _few_drawings(monkeypatch) -> None:
    monkeypatch.setattr(photographs, "_DRAWN", 2)


def spec_of(method: str, **flags):
    return resolved(build_spec(method=method, dataset="demo", flags={**SMALL, **flags}))


def silent(*_) -> None:
    pass


def test_rows_of_a_method() -> None:
    spec = spec_of("reaps")
    cases = cases_of([spec], 12, stock=True)
    assert [case.name for case in cases] == ["tiny alone", "stock PyTorch", "reaps"]
    assert [case.spec.method.name for case in cases] == ["baseline", "baseline", "reaps"]
    assert [case.asked for case in cases] == [False, False, True]
    assert cases[0].spec.backbone == spec.backbone
    assert cases[0].spec.train == spec.train


def test_stock_is_fp32() -> None:
    cases = cases_of([spec_of("reaps", **{"train.precision": "bf16"})], 12, stock=True)
    assert [case.spec.train.precision for case in cases] == ["bf16", "fp32", "bf16"]


def test_the_plain_backbone_is_not_there_twice() -> None:
    cases = cases_of([spec_of("reaps"), spec_of("baseline")], 12)
    assert [(case.name, case.asked) for case in cases] == [("baseline", True), ("reaps", True)]


def test_methods_with_one_plain_backbone_share_it() -> None:
    paper = [build_spec(method=name, dataset="cub") for name in STEPPED]
    groups = [[spec.method.name for spec in group] for group in comparable(paper)]
    assert sorted(name for group in groups for name in group) == sorted(STEPPED)
    assert next(group for group in groups if "apcnn" in group)[0] == "baseline"  # ResNet-50 at 448, batches of 16
    assert ["reaps"] in groups  # VGG-19
    for group in comparable([spec_of(name) for name in METHOD_SPECS]):
        assert len(group) == len(METHOD_SPECS)


def test_training_beside_the_plain_backbone() -> None:
    cases = cases_of([spec_of("reaps")], 12, stock=True)
    found = measure(cases, "train", CPU, Plan(rounds=2, steps=2), silent)
    plain, stock, reaps = found.rows
    assert [len(steps) for row in found.rows for steps in row.rounds] == [2] * 6
    assert found.ratios(plain) == Ratios(time=1.0, multiply_adds=1.0, median_time=1.0)
    assert found.ratios(reaps).multiply_adds == reaps.multiply_adds / plain.multiply_adds > 2
    assert reaps.multiply_adds == summarize(cases[2].spec, 12).multiply_adds
    assert reaps.parameters > 2 * plain.parameters == 2 * stock.parameters
    weights = 4 * plain.parameters
    assert reaps.peak_memory > plain.peak_memory > 4 * weights  # weights, gradients, AdamW's two
    assert plain.peak_memory > stock.peak_memory > 3 * weights  # one of SGD's
    assert not plain.single


@pytest.mark.parametrize("method", METHOD_SPECS)
def test_every_method_looks(method, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SINGLE_CALLS", 4)
    found = measure(cases_of([spec_of(method)], 12), "infer", CPU, Plan(rounds=1, steps=1), silent)
    for row in found.rows:
        assert row.median > 0
        assert len(row.single) == 4
        assert row.peak_memory > 3.9 * row.parameters


def test_stock_is_what_pytorch_does_alone() -> None:
    case = cases_of([spec_of("reaps")], 12, stock=True)[1]
    training, looking = (build_way(case, what, CPU) for what in ("train", "infer"))
    assert isinstance(training, StockTraining)
    assert isinstance(looking, StockInference)
    for way in (training, looking):
        convolution = next(value for value in way.method.backbone.parameters() if value.ndim == 4)
        assert convolution.is_contiguous()
        assert way.images.is_contiguous()
    norms = {type(part).__name__ for part in looking.method.modules()}
    assert "BatchNorm2d" in norms
    before = training.method.classifier.weight.clone()
    training.step()
    assert not torch.equal(before, training.method.classifier.weight)
    assert looking.step().logits.shape == (2, 12)
    assert looking.single().logits.shape == (1, 12)


def test_looking_is_as_a_trained_model_is_opened() -> None:
    way = build_way(cases_of([spec_of("baseline")], 12)[0], "infer", CPU)
    assert not [part for part in way.method.modules() if isinstance(part, torch.nn.BatchNorm2d)]  # folded
    convolution = next(value for value in way.method.parameters() if value.ndim == 4 and value.shape[2] > 1)
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert way.step().logits.is_inference()


def test_training_steps_are_the_learners_own() -> None:
    """As many updates as steps, at the rate that training starts with, all of the network trained."""
    way = build_way(cases_of([spec_of("scapnet", **{"optim.warmup_epochs": 0})], 12)[1], "train", CPU)
    assert isinstance(way, Training)
    for _ in range(3):
        way.step()
    assert way.learner.scheduler.last_epoch == 3
    assert way.learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.002, rel=1e-3)
    assert way.learner.method.training
    assert all(parameter.requires_grad for parameter in way.learner.method.parameters())


def test_what_does_not_fit_leaves_the_others_alone(monkeypatch) -> None:
    def build(case, what, device):
        if case.name == "reaps":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return build_way(case, what, device)

    monkeypatch.setattr(module, "build_way", build)
    found = measure(cases_of([spec_of("reaps")], 12), "train", CPU, Plan(1, 1), silent)
    assert [row.trouble for row in found.rows] == ["", "out of memory"]
    assert found.rows[0].median > 0
    assert found.ratios(found.rows[1]) is None


def test_other_failures_are_not_hidden(monkeypatch) -> None:
    def build(*_):
        raise RuntimeError("an odd thing")

    monkeypatch.setattr(module, "build_way", build)
    with pytest.raises(RuntimeError, match="an odd thing"):
        measure(cases_of([spec_of("reaps")], 12), "train", CPU, Plan(1, 1), silent)


def test_a_batch_of_one_says_what_to_do() -> None:
    specs = [spec_of("baseline", **{"backbone.name": "resnet18", "train.batch_size": 1, "data.image_size": 32})]
    with pytest.raises(FgvcError, match="use a larger --batch-size"):
        measure(cases_of(specs, 12), "train", CPU, Plan(1, 1), silent)


@pytest.mark.parametrize(
    ("seconds", "limit", "rounds", "steps"),
    # a round more than asked for warms up: 3 s × (3 + 1) a step of each
    [([1.0, 2.0], 24.0, 3, 2), ([1.0, 2.0], 1.0, 3, 1), ([0.001], 1000.0, 8, 20), ([], 10.0, 8, 1)],
)
def test_as_many_steps_as_there_is_time_for(seconds, limit, rounds, steps) -> None:
    assert _affordable(seconds, limit, rounds, 20) == steps


@pytest.mark.parametrize("cache", ["off", "disk"])
def test_steps_on_images_from_files(cache) -> None:
    cases = cases_of([spec_of("baseline", **{"data.cache": cache, "data.workers": 0})], 12)
    with opened_feeds(cases, None, CPU, 2, silent) as feeds:
        found = measure(cases, "train", CPU, Plan(rounds=2, steps=2), silent, feeds)
        assert feeds["baseline"].epoch >= 3  # each turn begins one
    (row,) = found.rows
    assert [len(steps) for steps in row.files] == [2, 2]
    assert 0 < row.files_share < 10


def test_what_was_loaded_ahead_is_used_up_first() -> None:
    cases = cases_of([spec_of("baseline", **{"data.workers": 0})], 12)
    way = build_way(cases[0], "train", CPU)
    taken = []
    with opened_feeds(cases, None, CPU, 2, silent) as feeds:
        feed = feeds["baseline"]
        feed.ahead = 3
        step = way.step
        way.step = lambda batch: taken.append(len(batch.labels)) or step(batch)
        assert len(feed.turn(way, 2)) == 2
    assert taken == [2] * 5


def test_the_trace_is_json_with_the_methods_operations(tmp_path) -> None:
    way = build_way(cases_of([spec_of("reaps")], 12)[1], "train", CPU)
    dearest = record(way.step, CPU, tmp_path / "traces" / "train-reaps.json")
    events = json.loads((tmp_path / "traces" / "train-reaps.json").read_text())["traceEvents"]
    names = {event["name"] for event in events}
    assert {"aten::lstm", "aten::convolution", "aten::convolution_backward"} <= names
    assert [path.name for path in (tmp_path / "traces").iterdir()] == ["train-reaps.json"]
    assert len(dearest) == 10
    assert dearest == sorted(dearest, key=lambda one: -one.seconds)
    assert 0.3 < sum(one.share for one in dearest) <= 1
    convolutions = next(one for one in dearest if one.name == "aten::convolution_backward")
    assert convolutions.calls % STEPS == 0


@pytest.mark.parametrize(("what", "method", "graphs"), [("train", "mc", 2), ("infer", "baseline", 2)])
def test_compiled_ways_keep_their_graphs(monkeypatch, what, method, graphs) -> None:
    """Each is compiled once, before the clock starts; for single images there is another; never stock PyTorch."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(module, "_SINGLE_CALLS", 2)
    torch._dynamo.utils.counters.clear()
    cases = cases_of([spec_of(method, **{"train.compile": True})], 12, stock=True)
    found = measure(cases, what, CPU, Plan(rounds=2, steps=1), silent)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert [(row.name == "stock PyTorch") for row in found.rows] == [not row.compiled for row in found.rows]
