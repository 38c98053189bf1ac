from __future__ import annotations

import pytest

from fgvc_cli.methods.cost import summarize
from fgvc_cli.spec.build import build_spec


def counted(backbone: str, classes: int = 200, **more):
    return summarize(build_spec(method="baseline", dataset="cub", flags={"backbone.name": backbone, **more}), classes)


@pytest.mark.parametrize(
    ("backbone", "parameters", "multiply_adds"),
    # torchvision's published counts at 224 with 1000 classes
    [("resnet18", 11_689_512, 1.814e9), ("resnet50", 25_557_032, 4.089e9), ("resnet101", 44_549_160, 7.801e9)],
)
def test_published_counts(backbone, parameters, multiply_adds) -> None:
    result = counted(backbone, 1000, **{"data.image_size": 224})
    assert result.parameters == parameters
    assert result.multiply_adds == pytest.approx(multiply_adds, rel=1e-3)


def test_modules_add_up() -> None:
    result = summarize(build_spec(method="reaps", dataset="demo"), 12)
    assert sum(module.parameters for module in result.modules) == result.parameters
    assert sum(module.multiply_adds for module in result.modules) == result.multiply_adds


def test_the_sequence_is_counted() -> None:
    """BiLSTM by hand: each way 4 gates of (C + U/2) × U/2 a cell."""
    with_parts = summarize(build_spec(method="reaps", dataset="demo"), 12)
    without = summarize(build_spec(method="reaps", dataset="demo", sets=["method.part_branch=false"]), 12)
    channels, half, cells = 160, 64, 49
    lstm = cells * 2 * 4 * half * (channels + half)
    heads = 2 * cells * 128 * 12  # the part classifier, and its share of the joint layer
    assert with_parts.multiply_adds - without.multiply_adds == lstm + heads
