"""build_method: where each network's starting weights come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fgvc_cli.backbones import build_backbone
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.run import RunSpec


def spec_of(method: str, weights: Path | str = "none", backbone: str = "tiny", **fields: Any) -> RunSpec:
    settings = {"name": method, **({"units": 16, **fields} if method == "reaps" else {})}
    return RunSpec.model_validate(
        {
            "method": settings,
            "backbone": {"name": backbone, "weights": str(weights)},
            "data": {"image_size": 64},
        }
    )


def finished(folder: Path, spec: RunSpec, num_classes: int) -> Method:
    """A run folder, as far as weights go, and the method that trained there."""
    torch.manual_seed(11)
    method, _ = build_method(spec, num_classes)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter))
    folder.mkdir()
    metadata = {"spec": spec.model_dump(mode="json"), "classes": [], "epoch": 1}
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
