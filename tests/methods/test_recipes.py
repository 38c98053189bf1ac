"""Every method runs, forward and backward, under the recipes that take any method."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.methods import build_method
from fgvc_cli.methods.sizes import check_image_size
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.training.optim import settings


@pytest.mark.parametrize("method", METHOD_SPECS)
@pytest.mark.parametrize("recipe", ["modern-folder", "light-folder"])
def test_a_method_runs_under_a_recipe(method: str, recipe: str) -> None:
    pytest.importorskip("timm")
    spec = build_spec(preset=recipe, method=method)
    check_image_size(spec, 5)
    with torch.device("meta"):
        built, _ = build_method(spec, 5, load_weights=False)
        images = torch.empty(2, 3, spec.data.image_size, spec.data.image_size)
        labels = torch.zeros(2, dtype=torch.int64)
    found = settings(built, spec.optim)
    built.on_epoch(spec.train.epochs - 1, spec.train.epochs)
    losses = built.losses(built.train()(images), labels)
    assert all(loss.shape == () for loss in losses.values())
    assert len({setting.rate for setting in found.values()}) >= (
        5 if recipe == "modern-folder" and not spec.method.at_once else 1
    )
