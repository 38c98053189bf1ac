"""build_method: where each network's starting weights come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fgvc_cli.backbones import build_backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.run_weights import class_axes
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.run import RunSpec


def spec_of(method: str, weights: Path | str = "none", backbone: str = "tiny", **fields: Any) -> RunSpec:
    settings = {"name": method, **({"units": 16} if method == "reaps" else {}), **fields}
    return RunSpec.model_validate(
        {
            "method": settings,
            "backbone": {"name": backbone, "weights": str(weights)} | ({"freeze": "all"} if method == "probe" else {}),
            "data": {"image_size": 64},
        }
    )


def finished(folder: Path, spec: RunSpec, num_classes: int, classes: Sequence[str] = ()) -> Method:
    """A run folder, as far as weights go, and the method that trained there."""
    torch.manual_seed(11)
    method, _ = build_method(spec, num_classes)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter))
    folder.mkdir()
    metadata = {"spec": spec.model_dump(mode="json"), "classes": list(classes), "epoch": 1}
    save_file(method.state_dict(), folder / "model.safetensors", metadata={"fgvc": json.dumps(metadata)})
    return method


def equal(first: Method, second: Method, start: str = "") -> bool:
    theirs = second.state_dict()
    return all(torch.equal(v, theirs[k]) for k, v in first.state_dict().items() if k.startswith(start))


def test_same_method_takes_everything(tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", spec_of("reaps"), 5)
    method, notes = build_method(spec_of("reaps", tmp_path / "run"), 5)
    assert equal(method, donor)
    assert notes == []


def test_a_head_of_another_size_is_left_out_and_said_so(tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", spec_of("reaps"), 5)
    method, notes = build_method(spec_of("reaps", tmp_path / "run" / "model.safetensors"), 7)
    for taken in ("backbone.", "networks.psn.backbone.", "networks.psn.parts.lstm"):
        assert equal(method, donor, taken)
    heads = "classifier, joint, networks.psn.classifier, networks.psn.parts.classifier"
    assert notes == [f"not loaded from the run's weights: {heads}", f"missing in the run's weights: {heads}"]


def test_another_method_takes_the_backbone_for_all_its_networks(tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", spec_of("baseline"), 5)
    method, notes = build_method(spec_of("reaps", tmp_path / "run"), 5)
    assert equal(method, donor, "backbone.")
    given = donor.state_dict()
    for key, value in method.state_dict().items():
        if key.startswith("networks.psn.backbone."):
            assert torch.equal(value, given[key.removeprefix("networks.psn.")])
    assert not torch.equal(method.state_dict()["classifier.weight"], given["classifier.weight"])
    assert notes == ["not loaded from the run's weights: classifier"]


def test_a_run_with_fewer_stages_starts_the_second_from_its_backbone(tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", spec_of("reaps"), 5)
    method, notes = build_method(spec_of("reaps", tmp_path / "run", stages=2), 5)
    assert equal(donor, method, "networks.psn.")
    second = {k: v for k, v in method.state_dict().items() if k.startswith("networks.psn2.backbone.")}
    assert all(torch.equal(v, donor.state_dict()[k.removeprefix("networks.psn2.")]) for k, v in second.items())
    fresh = "backbone, networks.psn2.classifier, networks.psn2.parts.classifier, networks.psn2.parts.lstm"
    assert notes == [
        "not loaded from the run's weights: joint",
        f"missing in the run's weights: joint, networks.psn2.{fresh}",
    ]


def test_a_run_of_another_backbone(tmp_path: Path) -> None:
    finished(tmp_path / "run", spec_of("baseline"), 5)
    with pytest.raises(BadRequest, match=r"of backbone tiny\) does not fit backbone resnet18"):
        build_method(spec_of("baseline", tmp_path / "run", "resnet18"), 5)


def test_weights_from_a_file_reach_every_network(tmp_path: Path) -> None:
    donor = build_backbone("tiny")
    torch.save(donor.trunk.state_dict(), tmp_path / "w.pth")
    method, notes = build_method(spec_of("reaps", tmp_path / "w.pth", stages=2), 5)
    state = method.state_dict()
    for key, value in donor.state_dict().items():
        for network in ("", "networks.psn.", "networks.psn2."):
            assert torch.equal(state[f"{network}backbone.{key}"], value)
    assert notes == []


def test_loading_can_be_left_to_a_checkpoint() -> None:
    """Neither fetched (imagenet) nor read (a file that is gone)."""
    for backbone, weights in (("resnet18", "imagenet"), ("tiny", "/nowhere/run")):
        method, notes = build_method(spec_of("baseline", weights, backbone), 5, load_weights=False)
        assert isinstance(method, Method)
        assert notes == []


BIRDS, OTHERS = ("finch", "robin", "wren"), ("auk", "finch", "robin")
METHOD_NAMES = sorted(METHOD_SPECS)


def sized(name: str, weights: Path | str = "none", backbone: str = "tiny") -> RunSpec:
    """On 64 pixels; the three channels of a class that the papers have, so that widths follow the number of classes."""
    fields: dict[str, Any] = {"channels_per_class": 3} if name in ("tdsa", "mc") else {}
    return spec_of(name, weights, backbone, **fields)


def parts(tensor: torch.Tensor, axes: tuple[int, ...], label: int, count: int) -> torch.Tensor:
    """What of a tensor belongs to a class alone, along all of its class axes; written with narrow, not with indices."""
    for axis in axes:
        width = tensor.shape[axis] // count
        tensor = tensor.narrow(axis, label * width, width)
    return tensor


@pytest.mark.parametrize("name", METHOD_NAMES)
@pytest.mark.parametrize("classes", [OTHERS, ("robin", "finch"), ("Finch", "auk", "wren", "tit")], ids=len)
def test_a_class_starts_from_the_class_of_its_name(name: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", sized(name), 3, BIRDS).state_dict()
    torch.manual_seed(5)
    method, notes = build_method(sized(name, tmp_path / "run"), len(classes), classes=classes)
    torch.manual_seed(5)
    own, fresh = method.state_dict(), build_method(sized(name), len(classes))[0].state_dict()
    axes = class_axes(lambda count: build_method(sized(name), count)[0], 3)
    assert any(key.endswith("weight") for key in axes)
    for key, value in own.items():
        if key not in axes:
            assert torch.equal(value, donor[key]), key
            continue
        for label, bird in enumerate(classes):
            found = parts(value, axes[key], label, len(classes))
            if bird.lower() in BIRDS:
                expected = parts(donor[key], axes[key], BIRDS.index(bird.lower()), 3)
            else:
                expected = parts(fresh[key], axes[key], label, len(classes))
            assert torch.equal(found, expected), (key, bird)
    shared = [bird for bird in classes if bird.lower() in BIRDS]
    new = [bird for bird in classes if bird.lower() not in BIRDS]
    line = f"{len(shared)} of {len(classes)} classes start from that run's weights of their name ({', '.join(shared)})"
    assert line + (f"; new: {', '.join(new)}" if new else "") in notes


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_no_class_in_common_or_no_names(name: str, tmp_path: Path) -> None:
    finished(tmp_path / "run", sized(name), 3, BIRDS)
    _, notes = build_method(sized(name, tmp_path / "run"), 2, classes=("auk", "tit"))
    assert "what belongs to a class starts anew: no class of that run has one of these names" in notes
    finished(tmp_path / "unnamed", sized(name), 3)
    _, notes = build_method(sized(name, tmp_path / "unnamed"), 3, classes=BIRDS)
    assert "that run does not name its classes: what belongs to a class starts anew" in notes


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_same_classes_take_everything_and_say_nothing(name: str, tmp_path: Path) -> None:
    donor = finished(tmp_path / "run", sized(name), 3, BIRDS)
    method, notes = build_method(sized(name, tmp_path / "run"), 3, classes=BIRDS)
    assert equal(method, donor)
    assert notes == []


def test_channels_of_a_widened_vgg_follow_their_class_into_the_next_layer() -> None:
    """TDSA-Loss widens conv4 and conv5: what reads a class's channels belongs to the class too."""
    axes = class_axes(lambda count: build_method(sized("tdsa", backbone="vgg16"), count)[0], 4)
    widths = {key: value for key, value in axes.items() if "backbone" in key}
    assert sorted(widths.values()) == [(0,), (0,), (0,), (0,), (1,)]  # two layers' weight and bias; conv5_1's inputs


def test_finding_the_axes_draws_no_random_number() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    class_axes(lambda count: build_method(sized("scapnet"), count)[0], 5)
    assert torch.equal(torch.rand(3), expected)
