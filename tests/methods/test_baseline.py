"""The baseline beside its definition."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fgvc_cli.methods.base import Method
from fgvc_cli.methods.baseline import Baseline
from fgvc_cli.spec.methods.baseline import BaselineSpec


def test_it_is_backbone_pooling_and_one_linear_layer(build: Callable[..., Method]) -> None:
    method = build(BaselineSpec()).eval()
    assert isinstance(method, Baseline)
    images = torch.randn(3, 3, 64, 64)
    output = method(images, evidence=True)
    features = method.backbone(images, ["conv5"])["conv5"]
    pooled = features.sum((2, 3)) / 16
    torch.testing.assert_close(output.logits, pooled @ method.classifier.weight.T + method.classifier.bias)
    assert list(output.branches) == ["final"]
    assert output.evidence is not None
    assert output.evidence.embedding is not None
    torch.testing.assert_close(output.evidence.embedding, pooled)
    assert torch.equal(output.evidence.heads["final"].map, features)


def test_parameters(build: Callable[..., Method]) -> None:
    assert sum(p.numel() for p in build(BaselineSpec(), 12).parameters()) == 565_936 + 161 * 12
    assert sum(p.numel() for p in build(BaselineSpec(), 200, 448, "resnet50").parameters()) == 23_508_032 + 2049 * 200


def test_the_cam_and_the_bias_average_to_the_logit(build: Callable[..., Method]) -> None:
    """What makes the map a CAM: its mean before rectifying is the logit without its bias."""
    method = build(BaselineSpec()).eval()
    assert isinstance(method, Baseline)
    output = method(torch.randn(2, 3, 64, 64), evidence=True)
    assert output.evidence is not None
    head = output.evidence.heads["final"]
    assert head.weight is not None
    cams = torch.einsum("bchw,kc->bkhw", head.map, head.weight)
    torch.testing.assert_close(cams.mean((2, 3)) + method.classifier.bias, output.logits)
