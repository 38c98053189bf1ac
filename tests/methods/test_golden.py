"""Recorded outputs: a refactor gives the same numbers.

Weights and images come from numpy's RandomState, whose numbers never change, so the record does not depend on PyTorch's
generator. To renew it after a change that is meant to change the numbers, run

    FGVC_RENEW_GOLDEN=1 python -m pytest tests/methods/test_golden.py

and say in the commit why they moved.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fgvc_cli.methods.base import Method
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.methods.reaps import ReapsSpec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec

GOLDEN = Path(__file__).parents[1] / "golden"
CASES: dict[str, MethodSpec] = {
    "baseline/baseline": BaselineSpec(),
    "apcnn/apcnn": ApCnnSpec(width=16, reduction=4, hidden=16, erase=False),
    "apcnn/top_down": ApCnnSpec(
        width=16, hidden=16, erase=False, neck="top_down", pathway="spatial", refine_at="conv2"
    ),
    "apcnn/one_stage": ApCnnSpec(width=16, hidden=16, refine=False, bottom_up="sum"),
    "reaps/reaps": ReapsSpec(units=16, tau=0.6),
    "reaps/reaps_plus": ReapsSpec(units=16, tau=0.6, stages=2, box="largest_component"),
    "reaps/without_parts": ReapsSpec(tau=0.6, part_branch=False),
    "scapnet/scapnet": ScapNetSpec(gumbel=False, heads=3),
    "scapnet/concatenated": ScapNetSpec(gate="soft", gumbel=False, grid=5, parts=(2, 0, 1), relation="concatenate"),
    "clan/clan": ClanSpec(),
    "clan/three_scales": ClanSpec(scales=3, relation="embedded_gaussian", reduction=4),
    "clan/nonlocal": ClanSpec(context="nonlocal", clsa=False),
    "tdsa/tdsa": TdsaSpec(channels_per_class=3, hidden=16),
    "tdsa/own_channels": TdsaSpec(projection="none", upsample="bicubic", hidden=16),
    "tdsa/mc": McSpec(channels_per_class=3, hidden=16),
}
LABELS = torch.tensor([0, 4, 2, 2])


def normal(random: np.random.RandomState, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    return torch.from_numpy(random.standard_normal(shape) * scale).float()


def fill(method: Method) -> None:
    """Weights of He's scale, biases and normalisation away from 0 and 1; in the order of the sorted names."""
    random = np.random.RandomState(0)
    with torch.no_grad():
        for name, value in sorted(method.state_dict().items()):
            if not value.is_floating_point():
                continue
            if value.ndim > 1:
                value.copy_(normal(random, tuple(value.shape), math.sqrt(2 / value[0].numel())))
            elif name.endswith(("running_var", "weight")):
                value.copy_(1 + normal(random, tuple(value.shape), 0.1).abs())
            else:
                value.copy_(normal(random, tuple(value.shape), 0.1))


def patches(random: np.random.RandomState) -> Tensor:
    """(4, 3, 96, 96) images that are flat but for one patch of noise each, elsewhere in every one."""
    images = torch.zeros(4, 3, 96, 96)
    for image, (y, x) in zip(images, [(4, 8), (40, 56), (60, 12), (24, 30)], strict=True):
        image[:, y : y + 32, x : x + 32] = normal(random, (3, 32, 32), 2)
    return images


def record(method: Method) -> dict[str, Any]:
    """Logits, boxes and grids in evaluation mode; losses and gradient norms in training mode."""
    images = patches(np.random.RandomState(1))
    with torch.no_grad():
        seen = method.eval()(images, evidence=True)
    torch.manual_seed(2)  # of a method's own dice: draws of torch.rand on the CPU
    output = method.train()(images)
    losses = method.losses(output, LABELS)
    torch.stack(list(losses.values())).sum().backward()
    norms = {
        name: math.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters() if p.grad is not None))
        for name, module in method.named_children()
    }
    return {
        "logits": {name: logits.tolist() for name, logits in seen.branches.items()},
        "boxes": {name: boxes.xyxy.tolist() for name, boxes in seen.evidence.boxes.items()},
        "grids": {name: grid.values.tolist() for name, grid in seen.evidence.grids.items()},
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradient_norms": norms,
    }


def rounded(value: Any) -> Any:
    """Seven digits: what fp32 holds."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else float(f"{value:.7g}")


def assert_close(found: Any, expected: Any, where: str = "") -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_close(found[key], expected[key], f"{where}/{key}")
    else:
        torch.testing.assert_close(
            torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=1e-4, msg=lambda told: f"{where}: {told}"
        )


@pytest.mark.parametrize("case", CASES)
def test_golden(build: Callable[..., Method], case: str) -> None:
    method = build(CASES[case], image_size=96)
    fill(method)
    found = rounded(record(method))
    file = GOLDEN / f"{case}.json"
    if os.environ.get("FGVC_RENEW_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{\n" + ",\n".join(f'"{key}": {json.dumps(found[key])}' for key in found) + "\n}\n")
    assert_close(found, json.loads(file.read_text()))


def test_the_recorded_boxes_are_worth_recording() -> None:
    """They differ from image to image and from the whole image."""
    boxes = json.loads((GOLDEN / "reaps/reaps.json").read_text())["boxes"]["ran"]
    assert len({str(box) for box in boxes}) == 4
    assert [[0, 0, 96, 96]] not in boxes
