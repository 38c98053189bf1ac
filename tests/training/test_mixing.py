"""Label smoothing, mixup and CutMix against their equations, image by image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fgvc_cli.backbones import build_backbone
from fgvc_cli.data.types import Batch
from fgvc_cli.methods import METHODS
from fgvc_cli.spec.regularise import RegulariseSpec
from fgvc_cli.training import mixing
from fgvc_cli.training.learner import StepModule
from fgvc_cli.training.mixing import neighbour, outside_box, own_pixels, regularise, smooth

K, SIDE = 7, 32
CPU = torch.device("cpu")


def batch_of(count: int = 6, height: int = SIDE, width: int = SIDE) -> Batch:
    """Images that are constant, each of another value, so that a mixed pixel tells where it is from."""
    values = torch.arange(1, count + 1, dtype=torch.float32).view(-1, 1, 1, 1)
    images = values.expand(count, 3, height, width).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(count) % K
    return Batch(images, labels, torch.arange(count), torch.zeros(count, 2, 3))


def partners(values: Tensor) -> Tensor:
    return values.roll(1, 0)


def test_without_settings_nothing_changes_and_nothing_is_drawn() -> None:
    batch, before = batch_of(), torch.get_rng_state()
    assert regularise(batch, RegulariseSpec(), K) is batch
    assert regularise(batch, RegulariseSpec(mixup_alpha=1, mix_probability=0), K) is batch
    assert batch.labels.dtype == torch.int64
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.7])
def test_smoothing_is_that_of_pytorch(epsilon: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, K)
    batch = regularise(batch_of(), RegulariseSpec(label_smoothing=epsilon), K)
    expected = F.cross_entropy(logits, batch_of().labels, label_smoothing=epsilon)
    torch.testing.assert_close(F.cross_entropy(logits, batch.labels), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(batch.images, batch_of().images)


@pytest.mark.parametrize(
    "spec",
    [
        RegulariseSpec(mixup_alpha=0.4),
        RegulariseSpec(cutmix_alpha=1),
        RegulariseSpec(mixup_alpha=0.4, cutmix_alpha=1, mix_probability=0.5, label_smoothing=0.1),
    ],
)
def test_labels_are_probabilities(spec: RegulariseSpec) -> None:
    torch.manual_seed(0)
    batch = regularise(batch_of(64), spec, K)
    assert (batch.labels.shape, batch.labels.dtype) == ((64, K), torch.float32)
    torch.testing.assert_close(batch.labels.sum(1), torch.ones(64), rtol=1e-6, atol=1e-6)
    assert (batch.labels >= 0).all()
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.dtype == torch.float32


def test_mixup_is_the_convex_combination_of_images_and_labels() -> None:
    torch.manual_seed(0)
    plain = batch_of(64)
    batch = regularise(plain, RegulariseSpec(mixup_alpha=1), K)
    own = plain.images[:, 0, 0, 0]
    found = (batch.images[:, 0, 0, 0] - partners(own)) / (own - partners(own))  # λ of each image
    assert len(found.unique()) == 64
    expected = found.view(-1, 1, 1, 1) * plain.images + (1 - found).view(-1, 1, 1, 1) * partners(plain.images)
    torch.testing.assert_close(batch.images, expected, rtol=1e-5, atol=1e-5)
    hard = F.one_hot(plain.labels, K).float()
    expected_labels = found[:, None] * hard + (1 - found)[:, None] * partners(hard)
    torch.testing.assert_close(batch.labels, expected_labels, rtol=1e-4, atol=1e-4)


def test_cutmix_weighs_labels_by_the_exact_share_of_pixels() -> None:
    torch.manual_seed(0)
    plain = batch_of(64, 24, 40)
    batch = regularise(plain, RegulariseSpec(cutmix_alpha=1), K)
    pasted = batch.images[:, 0] != plain.images[:, 0]
    assert torch.equal(batch.images[:, 0][pasted], partners(plain.images)[:, 0][pasted])
    share = pasted.flatten(1).sum(1).double() / (24 * 40)
    assert len(share.unique()) > 40
    hard = F.one_hot(plain.labels, K).double()
    expected = (1 - share)[:, None] * hard + share[:, None] * partners(hard)
    torch.testing.assert_close(batch.labels.double(), expected, rtol=0, atol=6e-8)  # rounded to float32 once


def test_what_is_pasted_is_one_box_of_the_asked_size() -> None:
    torch.manual_seed(0)
    kept = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0]).repeat_interleave(200)
    inside = outside_box(kept, (20, 30))[:, 0] == 0
    rows, columns = inside.any(2), inside.any(1)
    assert torch.equal(inside, rows[:, :, None] & columns[:, None, :])
    edges = rows.int().diff(dim=1).ne(0).sum(1)  # one run of rows: it begins and ends once at most
    assert edges.max() <= 2
    sides = (1 - kept).sqrt()
    assert (rows.sum(1) <= (sides * 20).ceil() + 1).all()
    assert (columns.sum(1) <= (sides * 30).ceil() + 1).all()
    assert not inside[kept == 1].any()
    assert rows.sum(1)[kept == 0.25].max() >= 17  # a box that lies within has its full side


def test_each_image_is_mixed_or_not_by_its_own_dice() -> None:
    torch.manual_seed(0)
    spec = RegulariseSpec(mixup_alpha=1, cutmix_alpha=1, mix_probability=0.3)
    own = own_pixels(4000, (8, 8), spec, CPU).flatten(1)
    untouched = (own == 1).all(1)
    assert 0.68 < untouched.float().mean() < 0.76  # some boxes are empty
    blended = ((own > 0) & (own < 1)).all(1)
    assert 0.12 < blended.float().mean() < 0.18
    assert ((own == 0) | (own == 1)).all(1)[~blended].all()


def test_draws_repeat_with_the_generator_and_an_image_has_the_mean_of_beta() -> None:
    torch.manual_seed(3)
    first = mixing.beta(20_000, 0.2, CPU)
    torch.manual_seed(3)
    assert torch.equal(first, mixing.beta(20_000, 0.2, CPU))
    assert first.mean() == pytest.approx(0.5, abs=0.01)
    assert first.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.005)
    for alpha in (1e-6, 100.0):
        assert mixing.beta(1000, alpha, CPU).isfinite().all()


def test_a_batch_of_one_mixes_with_itself() -> None:
    batch = regularise(batch_of(1), RegulariseSpec(mixup_alpha=1, cutmix_alpha=1), K)
    assert torch.equal(batch.images, batch_of(1).images)
    assert torch.equal(batch.labels, smooth(batch_of(1).labels, K, 0))
    assert torch.equal(neighbour(batch.labels), batch.labels)


@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: spec.model_fields["name"].default)
def test_every_method_trains_on_mixed_labels(spec) -> None:
    torch.manual_seed(0)
    step = StepModule(METHODS[spec](spec(), build_backbone("tiny"), K, 64))
    settings = RegulariseSpec(mixup_alpha=1, cutmix_alpha=1, label_smoothing=0.1)
    batch = regularise(batch_of(4, 64, 64), settings, K)
    values = step(batch.images, batch.labels)
    values["loss"].backward()
    assert values["loss"].isfinite()
    assert all(parameter.grad is not None for parameter in step.parameters())


class Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_the_work_is_batched_and_never_waits_for_a_value() -> None:
    spec = RegulariseSpec(mixup_alpha=1, cutmix_alpha=1, label_smoothing=0.1)
    counted = []
    for count in (2, 8):
        with Operations() as running:
            regularise(batch_of(count), spec, K)
        counted.append(len(running.names))
        assert not [name for name in running.names if "_local_scalar_dense" in name or "nonzero" in name]
    assert counted[0] == counted[1]
