"""CAM, Grad-CAM and contrast, beside torchcam, literal loops and what theory says of a linear head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchcam import methods as torchcam
from torchvision.models import resnet18

from fgvc_cli.data.types import Batch
from fgvc_cli.errors import BadRequest
from fgvc_cli.inference.look import Seen, look, open_model
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import Evidence, Head, Output
from fgvc_cli.methods.reaps import PartSequence
from fgvc_cli.viz.kinds.saliency import CAM, GRAD_CAM, explaining_head, saliency
from tests.conftest import small_spec, untrained

CLASSES = torch.tensor([2, 0, 4])
AGAINST = torch.tensor([1, 3, 0])


def seen_of(heads: dict[str, Head], branches: dict[str, Tensor], final: str) -> Seen:
    logits = branches[final]
    images = torch.zeros(len(logits), 3, 8, 8)
    batch = Batch(images, torch.full((len(logits),), -1), torch.arange(len(logits)), torch.zeros(len(logits), 2, 3))
    output = Output(logits, branches, {}, Evidence(heads=heads))
    return Seen((), (), (), batch, output, logits.detach().softmax(1))


def frame(batch: int, side: float = 8) -> Tensor:
    return torch.tensor([0, 0, side, side]).expand(batch, 4)


def linear_head(batch: int = 3, channels: int = 6, classes: int = 5, h: int = 4, w: int = 7) -> tuple[Seen, Tensor]:
    """A linear layer on global average pooling, its weight not told."""
    dice = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, h, w, generator=dice).requires_grad_()
    weight = torch.randn(classes, channels, generator=dice)
    logits = features.mean((2, 3)) @ weight.T
    return seen_of({"final": Head(features, None, frame(batch))}, {"final": logits}, "final"), weight


def told(seen: Seen, weight: Tensor) -> Seen:
    """The same, its weight told."""
    assert seen.output.evidence is not None
    heads = {name: replace(head, weight=weight) for name, head in seen.output.evidence.heads.items()}
    return replace(seen, output=replace(seen.output, evidence=Evidence(heads=heads)))


def literal(features: Tensor, kernels: Tensor, signed: bool = False) -> Tensor:
    """Cell by cell, image by image, in float64: (B, C, h, w) and (B, C) → (B, h, w)."""
    batch, channels, h, w = features.shape
    result = torch.zeros(batch, h, w, dtype=torch.float64)
    for b in range(batch):
        for y in range(h):
            for x in range(w):
                value = sum(float(kernels[b, c]) * float(features[b, c, y, x]) for c in range(channels))
                result[b, y, x] = value if signed else max(value, 0)
        peak = float(result[b].abs().max())
        result[b] = result[b] / peak if peak > 0 else result[b]
    return result.float()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = resnet18(num_classes=5).eval()
    for parameter in network.parameters():  # what a picture needs, whatever the weights
        parameter.requires_grad_(False)
    return network


def seen_by_resnet(network: nn.Module, images: Tensor, layer: str, weight: Tensor | None) -> Seen:
    maps: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _m, _i, out: maps.append(out))
    with torch.enable_grad():
        logits = network(images.requires_grad_())
    handle.remove()
    return seen_of({"final": Head(maps[0], weight, frame(len(images)))}, {"final": logits}, "final")


@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_grad_cam_is_torchcams(network: nn.Module, layer: str) -> None:
    images = torch.randn(3, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    found = saliency(seen_by_resnet(network, images.clone(), layer, None), classes=CLASSES)
    assert (found.kind, found.head) == (GRAD_CAM, "final")
    with torchcam.GradCAM(network, layer) as extractor:
        scores = network(images.clone().requires_grad_())
        (theirs,) = extractor(CLASSES.tolist(), scores, normalized=False)
    assert theirs.shape == found.values.shape
    assert theirs.max() > 0
    torch.testing.assert_close(found.values, theirs / theirs.amax((1, 2), keepdim=True), rtol=0, atol=1e-4)
    with torchcam.GradCAM(network, layer) as extractor:  # normalised as torchcam does: from the lowest value on
        (theirs,) = extractor(CLASSES.tolist(), network(images.clone().requires_grad_()))
    low = found.values.amin((1, 2), keepdim=True)
    torch.testing.assert_close((found.values - low) / (1 - low), theirs, rtol=0, atol=1e-4)


def test_cam_is_torchcams(network: nn.Module) -> None:
    images = torch.randn(3, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    found = saliency(seen_by_resnet(network, images.clone(), "layer4", network.fc.weight), classes=CLASSES)
    assert found.kind == CAM
    with torchcam.CAM(network, "layer4", "fc") as extractor, torch.no_grad():
        network(images)
        (theirs,) = extractor(CLASSES.tolist(), normalized=False)
    theirs = theirs.relu()
    torch.testing.assert_close(found.values, theirs / theirs.amax((1, 2), keepdim=True), rtol=0, atol=1e-4)


def test_of_a_linear_head_grad_cam_is_cam() -> None:
    """d logit_k / d A_c(x, y) = w_kc / hw at every position: summed over positions, w_kc."""
    seen, weight = linear_head()
    for against in (None, AGAINST):
        gradient, exact = (saliency(s, None, CLASSES, against) for s in (seen, told(seen, weight)))
        assert (gradient.kind, exact.kind) == (GRAD_CAM, CAM)
        torch.testing.assert_close(gradient.values, exact.values)


def test_cam_and_contrast_cell_by_cell() -> None:
    seen, weight = linear_head()
    assert seen.output.evidence is not None
    features = seen.output.evidence.heads["final"].map.detach()
    seen = told(seen, weight)
    torch.testing.assert_close(saliency(seen, classes=CLASSES).values, literal(features, weight[CLASSES]))
    contrast = saliency(seen, classes=CLASSES, against=AGAINST).values
    torch.testing.assert_close(contrast, literal(features, weight[CLASSES] - weight[AGAINST], signed=True))
    assert contrast.min() < 0 < contrast.max()
    assert contrast.abs().amax((1, 2)).tolist() == pytest.approx([1, 1, 1])
    turned = saliency(seen, classes=AGAINST, against=CLASSES).values
    torch.testing.assert_close(turned, -contrast)


class Bent(nn.Module):
    """A head that is not linear, on a map that has a graph of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.out = nn.Linear(6 * 4, 9), nn.Linear(9, 5)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(self.hidden(F.adaptive_avg_pool2d(features, 2).flatten(1)).tanh())


@pytest.mark.parametrize("head", [Bent, lambda: PartSequence(6, 5, (2, 3), 8).eval()], ids=["bent", "lstm"])
@pytest.mark.parametrize("against", [None, AGAINST], ids=["class", "contrast"])
def test_grad_cam_image_by_image(head: Callable[[], nn.Module], against: Tensor | None) -> None:
    """Differences of the logit, image by image and channel by channel, in float64: no autograd."""
    torch.manual_seed(2)
    module = head().double()
    features = torch.randn(3, 6, 4, 6, dtype=torch.float64)

    def logits(values: Tensor) -> Tensor:
        out = module(values)
        return out[1] if isinstance(out, tuple) else out

    step, kernels = 1e-5, torch.zeros(3, 6)
    for b in range(3):
        for c in range(6):
            push = torch.zeros_like(features[:1])
            push[0, c] = step  # all positions at once: the sum of their derivatives
            with torch.no_grad():
                more, less = logits(features[b : b + 1] + push)[0], logits(features[b : b + 1] - push)[0]
            slope = (more - less) / (2 * step)
            kernels[b, c] = slope[CLASSES[b]] - (0 if against is None else slope[against[b]])
    expected = literal(features, kernels, signed=against is not None)

    graph = (features * 1).requires_grad_()
    seen = seen_of({"part": Head(graph, None, frame(3, 4))}, {"part": logits(graph)}, "part")
    found = saliency(seen, classes=CLASSES, against=against)
    torch.testing.assert_close(found.values, expected, rtol=1e-4, atol=1e-5)
    assert found.values.dtype == torch.float32
    assert torch.equal(found.frame, frame(3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    """4,096 channels of 1 and one of 16: summed in half precision the small ones vanish beside the sum so far."""
    features = torch.ones(1, 4097, 1, 2, dtype=dtype)
    features[0, 0, 0, 0] = 16.0
    weight = torch.ones(2, 4097, dtype=dtype)
    for head in (Head(features, weight, frame(1)), Head(features.requires_grad_(), None, frame(1))):
        logits = (features.mean((2, 3)) @ weight.T).float()
        found = saliency(seen_of({"final": head}, {"final": logits}, "final"), classes=torch.tensor([1]))
        assert found.values.dtype == torch.float32
        assert found.values[0, 0].tolist() == pytest.approx([1, 4097 / 4112], rel=1e-5)


def test_nothing_speaks_for_the_class() -> None:
    features, weight = torch.ones(2, 3, 2, 2), torch.tensor([[-1.0, -1, -1], [0, 0, 0]])
    seen = seen_of({"final": Head(features, weight, frame(2))}, {"final": torch.zeros(2, 2)}, "final")
    assert torch.equal(saliency(seen, classes=torch.tensor([0, 1])).values, torch.zeros(2, 2, 2))
    same = torch.tensor([1, 0])
    assert torch.equal(saliency(seen, classes=same, against=same).values, torch.zeros(2, 2, 2))


def head_of(side: int, linear: bool) -> Head:
    return Head(torch.zeros(1, 2, side, side), torch.zeros(3, 2) if linear else None, frame(1))


def test_which_head_explains_the_prediction() -> None:
    named = {"a": head_of(2, True), "final": head_of(8, False)}
    assert explaining_head(Evidence(heads=named)) == "final"
    assert explaining_head(Evidence(heads=named), "joint") == "a"
    levels = {"raw_p3": head_of(8, False), "raw_p5": head_of(2, False), "refined_p5": head_of(2, False)}
    assert explaining_head(Evidence(heads=levels)) == "raw_p5"
    assert explaining_head(Evidence(heads=levels | {"fine": head_of(9, True)})) == "fine"
    assert explaining_head(Evidence(heads={"ran": head_of(2, True), "psn": head_of(2, True)}), "joint") == "ran"
    with pytest.raises(BadRequest, match="no classification head"):
        explaining_head(Evidence())
    with pytest.raises(BadRequest, match=r"there is no head 'x'; the heads are: final"):
        saliency(linear_head()[0], "x")


def test_what_was_not_asked_for_is_said() -> None:
    seen, _ = linear_head()
    cut = replace(seen, output=replace(seen.output, branches={"final": seen.output.logits.detach()}))
    with pytest.raises(ValueError, match="gradients=True"):
        saliency(replace(cut, output=replace(cut.output, logits=cut.output.logits.detach())))
    with pytest.raises(ValueError, match="evidence=True"):
        saliency(replace(seen, output=replace(seen.output, evidence=None)))


EXPLAINING = {"reaps": "ran", "apcnn": "raw_p5", "scapnet": "master", "clan": "global"}


@pytest.mark.parametrize("method", [spec.model_fields["name"].default for spec in METHODS])
def test_every_head_of_every_method(method: str, photos: Path, tmp_path: Path) -> None:
    """No batch mate changes a picture, the recurrent layers rest as they were, and each head has a map."""
    spec = small_spec(photos, method, "train.epochs=1", "data.image_size=64", "data.resize=64")
    file = untrained(spec, ("blue", "green", "red"), tmp_path / "model.safetensors")
    model = open_model(file, EvalRequest(batch_size=3))
    recurrent = [module for module in model.trained.method.modules() if isinstance(module, nn.RNNBase)]
    modes: list[bool] = []
    for layer in recurrent:
        layer.register_forward_hook(lambda module, _i, _o: modes.append(module.training))
    pictures = find_pictures([str(photos / "test")])[:3]
    seen = next(look(model, pictures, evidence=True, gradients=True))
    assert all(modes)  # cuDNN goes back through them in training mode alone
    assert not any(layer.training for layer in recurrent)
    plain = next(look(model, pictures))
    torch.testing.assert_close(seen.probabilities, plain.probabilities, rtol=0, atol=1e-5)
    alone = next(look(model, pictures[1:2], evidence=True, gradients=True))
    assert seen.output.evidence is not None
    assert saliency(seen).head == EXPLAINING.get(method, "final")
    for name, head in seen.output.evidence.heads.items():
        found = saliency(seen, name)
        assert found.kind == (GRAD_CAM if head.weight is None else CAM)
        assert found.values.shape == (3, *head.map.shape[2:])
        assert torch.equal(found.frame, head.frame)
        assert torch.equal(found.classes, seen.output.logits.argmax(1))
        assert found.values.amin() >= 0
        torch.testing.assert_close(found.values[1:2], saliency(alone, name).values, rtol=0, atol=1e-3)
