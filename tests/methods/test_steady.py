"""No method is ever not finite: 200 steps of its recipes for photographs, from trained weights and at random."""

from __future__ import annotations

import pytest
import torch

from fgvc_cli.backbones import resolved
from fgvc_cli.backbones.timm.packaged_weights import packaged_state
from fgvc_cli.data.types import Batch
from fgvc_cli.spec.build import build_spec
from fgvc_cli.training.learner import Learner
from tests.conftest import STEPPED

STEPS, K, SIDE, BATCH = 200, 5, 64, 8
NETWORKS = {"timm:tf_efficientnet_lite0": "imagenet", "resnet18": "none", "timm:vit_tiny_patch16_224": "none"}


def batch_of(step: int) -> Batch:
    """Images of five kinds of gratings under noise, as normalised pixels."""
    dice = torch.Generator().manual_seed(step)
    labels = torch.randint(0, K, (BATCH,), generator=dice)
    waves = torch.linspace(0, 6.28, SIDE)[None, None, None, :] * (labels[:, None, None, None] + 2)
    images = waves.sin() + torch.randn(BATCH, 3, SIDE, SIDE, generator=dice)
    return Batch(images, labels, torch.arange(BATCH), torch.eye(2, 3).expand(BATCH, 2, 3))


@pytest.mark.slow
@pytest.mark.realweights
@pytest.mark.parametrize("method", STEPPED)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("preset", [None, "light-folder"])
def test_two_hundred_steps(method: str, network: str, preset: str | None) -> None:
    if NETWORKS[network] == "imagenet" and packaged_state(network.removeprefix("timm:")) is None:
        pytest.skip("the package with the weights is not installed")
    flags = {"backbone.name": network, "backbone.weights": NETWORKS[network], "data.image_size": SIDE}
    flags |= {"train.device": "cpu", "train.epochs": 4}
    recipe = {"preset": preset} if preset else {"dataset": "folder"}
    spec = resolved(build_spec(method=method, flags=flags, sets=["data.resize=null", "data.padding=0"], **recipe))
    learner = Learner.build(spec, K, torch.device("cpu"), steps_per_epoch=STEPS // 4, load_weights=True)
    for step in range(STEPS):
        if step % (STEPS // 4) == 0:
            learner.begin_epoch(step // (STEPS // 4))
        values = learner.backward(batch_of(step))
        assert all(torch.isfinite(value).all() for value in values.values()), f"step {step}: {values}"
        learner.update()
    assert all(value.isfinite().all() for value in learner.method.state_dict().values() if value.is_floating_point())
