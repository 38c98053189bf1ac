"""No method is ever not finite: 200 steps of its recipes for photographs, from trained weights and at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from fgvc_cli.backbones import resolved
from fgvc_cli.backbones.timm.packaged_weights import packaged_state
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.types import Batch
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.learner import Learner
from tests.conftest import STEPPED

STEPS, K, SIDE, BATCH, EACH = 200, 30, 112, 8, 10
TOKENS_SIDE = 128  # SCAPNet shows its second network half of it, which patches of 16 must fill
NETWORKS = {"timm:tf_efficientnet_lite0": "imagenet", "resnet18": "none", "timm:vit_tiny_patch16_224": "none"}


@pytest.fixture(scope="module")
def photographs(realdata: Path) -> tuple[Tensor, Tensor]:
    """EACH training images (N, 3, S, S) uint8 of K birds, and their labels: gratings let all methods live."""
    data = build_spec(method="baseline", dataset="cub", flags={"data.root": str(realdata)}).data
    index = load_index(data)
    rows = [row for label in range(K) for row in np.flatnonzero(index.train.labels == label)[:EACH]]
    size = (TOKENS_SIDE, TOKENS_SIDE)
    images = [Image.open(index.root / index.train.files[row]).convert("RGB").resize(size) for row in rows]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(index.train.labels[rows])


def batch_of(photographs: tuple[Tensor, Tensor], spec: RunSpec, step: int) -> Batch:
    """Photographs at random, as normalised pixels."""
    dice = torch.Generator().manual_seed(step)
    pixels, labels = photographs
    rows = torch.randint(len(pixels), (BATCH,), generator=dice)
    side = spec.data.side
    shown = resize(pixels[rows], [side, side], antialias=True)
    batch = Batch(shown, labels[rows], rows, torch.eye(2, 3).expand(BATCH, 2, 3))
    return to_device(batch, torch.device("cpu"), *spec.data.normalisation)


@pytest.mark.slow
@pytest.mark.realweights
@pytest.mark.realdata
@pytest.mark.parametrize("method", STEPPED)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("preset", [None, "light-folder"])
def test_two_hundred_steps(method: str, network: str, preset: str | None, photographs: tuple[Tensor, Tensor]) -> None:
    if NETWORKS[network] == "imagenet" and packaged_state(network.removeprefix("timm:")) is None:
        pytest.skip("the package with the weights is not installed")
    flags = {
        "backbone.name": network,
        "backbone.weights": NETWORKS[network],
        "data.image_size": TOKENS_SIDE if "vit" in network else SIDE,
    }
    flags |= {"train.device": "cpu", "train.epochs": 4}
    recipe = {"preset": preset} if preset else {"dataset": "folder"}
    spec = resolved(build_spec(method=method, flags=flags, sets=["data.resize=null", "data.padding=0"], **recipe))
    learner = Learner.build(spec, K, torch.device("cpu"), steps_per_epoch=STEPS // 4, load_weights=True)
    for step in range(STEPS):
        if step % (STEPS // 4) == 0:
            learner.begin_epoch(step // (STEPS // 4))
        values = learner.backward(batch_of(photographs, spec, step))
        assert all(torch.isfinite(value).all() for value in values.values()), f"step {step}: {values}"
        learner.update()
    assert all(value.isfinite().all() for value in learner.method.state_dict().values() if value.is_floating_point())
