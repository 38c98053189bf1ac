"""The paper's numbers: widths, parameters and multiply-adds; what presets, weights and runs make of a widened trunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fgvc_cli.methods import build_method
from fgvc_cli.methods.cost import summarize
from fgvc_cli.methods.tdsa.method import Mc, Tdsa
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec
from tests.methods.test_run_weights import equal, finished


def spec_of(method: str, backbone: str, *sets: str, dataset: str = "cub") -> RunSpec:
    return build_spec(method=method, dataset=dataset, flags={"backbone.name": backbone}, sets=list(sets))


def on_meta(spec: RunSpec, num_classes: int) -> Mc:
    with torch.device("meta"):
        method, _ = build_method(spec, num_classes, load_weights=False)
    assert isinstance(method, Mc)
    return method


def head(channels: int, classes: int, pool: int) -> tuple[int, int]:
    """Parameters and multiply-adds of BN → linear 512 → BN → ELU → linear."""
    inputs = channels * pool * pool
    return 2 * inputs + (inputs + 1) * 512 + 2 * 512 + 513 * classes, inputs * 512 + 512 * classes


def plain_vgg(classes: int, middle: int, high: int) -> tuple[int, int]:
    """VGG-16 with BN by hand at 224: (parameters, multiply-adds)."""
    widths = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, middle, 0, 512, 512, high]
    parameters = macs = 0
    channels, side = 3, 224
    for width in widths:
        if width == 0:
            side //= 2
            continue
        parameters += 9 * channels * width + 3 * width  # bias, and BN's two
        macs += 9 * channels * width * side * side
        channels = width
    more = head(high, classes, 7)
    return parameters + more[0], macs + more[1]


@pytest.mark.parametrize(
    ("method", "classes", "sets", "middle", "high"),
    [
        ("tdsa", 200, [], 1800, 600),
        ("tdsa", 200, ["method.xi=1"], 600, 600),
        ("tdsa", 100, ["method.xi=2"], 600, 300),
        ("tdsa", 1000, ["method.mu=0"], 9000, 3000),
        ("tdsa", 200, ["method.projection=none"], 512, 512),
        ("mc", 200, [], 600, 600),
    ],
)
def test_vgg_16_has_the_published_widths_and_evaluates_as_a_plain_network(
    method: str, classes: int, sets: list[str], middle: int, high: int
) -> None:
    spec = spec_of(method, "vgg16_bn", *sets)
    built = on_meta(spec, classes)
    assert (built.backbone.channels["conv4_3"], built.backbone.channels["conv5_3"]) == (middle, high)
    found = summarize(spec, classes)
    assert (found.parameters, found.multiply_adds) == plain_vgg(classes, middle, high)


def test_the_paper_s_vgg_16() -> None:
    found = summarize(spec_of("tdsa", "vgg16_bn"), 200)
    assert (found.parameters, found.multiply_adds) == (42_218_712, 21_257_666_560)


def plain_resnet(classes: int, width: int, side: int) -> tuple[int, int]:
    """ResNet-18 by torchvision with another last stage of this side, at 224."""
    from torchvision.models import resnet18

    with torch.device("meta"):
        trunk = resnet18()
    below = sum(p.numel() for name, p in trunk.named_parameters() if not name.startswith(("layer4", "fc")))
    convolutions = 9 * 256 * width + 256 * width + 3 * 9 * width * width
    below_macs = 1_814_073_344 - 512_000 - (9 * 256 * 512 + 256 * 512 + 3 * 9 * 512 * 512) * 49
    more = head(width, classes, 1)
    return below + convolutions + 5 * 2 * width + more[0], below_macs + convolutions * side * side + more[1]


@pytest.mark.parametrize(("method", "side"), [("tdsa", 7), ("mc", 14)])
def test_resnet_18_evaluates_as_a_plain_network(method: str, side: int) -> None:
    spec = spec_of(method, "resnet18")
    found = summarize(spec, 200)
    parameters, macs = plain_resnet(200, 600, side)
    adapter = 256 * 1800 + 2 * 1800 if method == "tdsa" else 0  # of the loss alone: parameters, no multiply-adds
    assert (found.parameters, found.multiply_adds) == (parameters + adapter, macs)


@pytest.mark.parametrize("backbone", ["resnet50", "tiny"])
def test_adapters_elsewhere(backbone: str) -> None:
    method = on_meta(spec_of("tdsa", backbone), 200)
    own = method.backbone.channels["conv5"]
    assert isinstance(method, Tdsa)
    assert isinstance(method.high_adapter, nn.Sequential)
    assert isinstance(method.middle_adapter, nn.Sequential)
    n = {"resnet50": 11, "tiny": 3}[backbone]
    assert method.high_adapter[0].weight.shape == (n * 200, own, 1, 1)
    assert method.middle_adapter[0].weight.shape == (3 * n * 200, method.backbone.channels["conv4"], 1, 1)


def run_spec(method: str, weights: Path | str, **fields: Any) -> RunSpec:
    tree = {"method": {"name": method, **fields}, "backbone": {"name": "resnet18", "weights": str(weights)}}
    return RunSpec.model_validate(tree | {"data": {"image_size": 64}})


def test_weights_go_into_what_is_not_widened_and_the_rest_is_told(tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", run_spec("baseline", "none"), 5)
    torch.save(donor.backbone.trunk.state_dict(), tmp_path / "w.pth")
    method, notes = build_method(run_spec("tdsa", tmp_path / "w.pth"), 200)
    assert len(notes) == 1
    told = "randomly initialised, since their widths depend on the number of classes: layer4.0.conv1, layer4.0.bn1"
    assert notes[0].startswith(told)
    for key in ("conv1", "layer1", "layer2", "layer3"):
        assert equal(donor, method, f"backbone.trunk.{key}")
    assert build_method(run_spec("tdsa", tmp_path / "w.pth", projection="none"), 200)[1] == []
    assert build_method(run_spec("tdsa", "none"), 200)[1] == []


def test_runs_with_a_widened_trunk(tmp_path: Path) -> None:
    """The same method and classes take everything; other ones what fits."""
    donor = finished(tmp_path / "run", run_spec("tdsa", "none", channels_per_class=9), 7)
    method, notes = build_method(run_spec("tdsa", tmp_path / "run", channels_per_class=9), 7)
    assert equal(method, donor)
    assert notes == []
    plain, notes = build_method(run_spec("baseline", tmp_path / "run"), 7)
    assert equal(donor, plain, "backbone.trunk.layer3")
    assert "different shape: layer4.0.conv1.weight" in notes[0]
    other, notes = build_method(run_spec("mc", tmp_path / "run", channels_per_class=9), 7)
    assert equal(other, donor, "backbone.")


@pytest.mark.parametrize("dataset", ["cub", "cars", "aircraft"])
def test_presets_have_the_paper_s_recipe(dataset: str) -> None:
    for name in ("tdsa", "mc"):
        spec = build_spec(method=name, dataset=dataset)
        assert (spec.backbone.name, spec.backbone.weights) == ("vgg16_bn", "none")
        assert (spec.data.image_size, spec.data.resize_side, spec.data.padding) == (224, 224, 4)
        assert spec.data.mean == spec.data.std == (0.5, 0.5, 0.5)
        assert (spec.optim.lr, spec.optim.weight_decay, spec.train.epochs, spec.train.batch_size) == (
            0.1,
            5e-4,
            300,
            32,
        )
    assert build_spec(method="tdsa", dataset=dataset).method.xi == (3 if dataset == "cub" else 2)
