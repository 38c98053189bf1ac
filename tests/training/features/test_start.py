"""A start from fitted classifiers: every method's final layers, and what they read."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fgvc_cli.inference.dataset import evaluation_loader, open_index
from fgvc_cli.methods.base import Method, Output
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.features.start import fit_classifiers, inputs_of, settle
from fgvc_cli.training.learner import Learner
from fgvc_cli.training.session import training_loader
from fgvc_cli.training.train import train
from tests.conftest import STEPPED, small_spec
from tests.training.test_train import quiet

CPU = torch.device("cpu")


class Begun:
    """A method at its start, and loaders of its images."""

    def __init__(self, spec: RunSpec, folder) -> None:
        self.index = open_index(RunFolder(folder), spec.data, quiet())
        self.mixed = training_loader(self.index, spec, CPU, None)
        self.plain = evaluation_loader(self.index, self.index.train, spec, CPU)
        self.learner = Learner.build(spec, len(self.index.classes), CPU, steps_per_epoch=2, load_weights=False)
        self.reporter = Reporter(quiet())

    @property
    def method(self) -> Method:
        return self.learner.method

    def outputs(self) -> tuple[Output, torch.Tensor]:
        """Of all training images, batch after batch."""
        self.method.eval()
        mean, std = self.learner.spec.data.normalisation
        batches = [batch.to(CPU) for batch in self.plain.epoch(0)]
        images = torch.cat([batch.images for batch in batches]).float() / 255
        shape = (1, 3, 1, 1)
        with torch.no_grad():
            found = self.method((images - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape))
        return found, torch.cat([batch.labels for batch in batches])


@pytest.fixture
def begun(photos, tmp_path):
    return lambda method, *sets: Begun(small_spec(photos, method, "data.val_fraction=0.3", *sets), tmp_path / method)


@pytest.mark.parametrize("method", [name for name in STEPPED if name != "baseline"])
def test_every_final_layer_is_fitted(begun, method) -> None:
    """Reds, greens and blues are told apart by whatever a layer reads, even from random layers."""
    run = begun(method)
    layers = [layer for group in run.method.final_layers() for layer in group.values()]
    before = [layer.weight.clone() for layer in layers]
    names = {id(layer) for layer in layers}
    assert len(names) == len(layers) > 0
    assert all(layer.out_features == len(run.index.classes) for layer in layers)
    everything = {id(p) for layer in layers for p in layer.parameters()}
    others = {name: p.clone() for name, p in run.method.named_parameters() if id(p) not in everything}
    fit_classifiers(run.learner, run.mixed, run.plain, None, run.reporter)
    assert not any(torch.equal(layer.weight, start) for layer, start in zip(layers, before, strict=True))
    assert all(torch.equal(dict(run.method.named_parameters())[name], p) for name, p in others.items())
    output, labels = run.outputs()
    right = (output.logits.argmax(1) == labels).float().mean()
    assert right == 1, f"{method}: {right}"


def test_each_layer_reads_what_the_groups_before_it_decide(begun) -> None:
    """REAPS' second network reads the region of the first's answer: fitted in turn, as one by one by hand."""
    together, by_hand = begun("reaps"), begun("reaps")
    fit_classifiers(together.learner, together.mixed, together.plain, None, together.reporter)
    groups = by_hand.method.final_layers()
    assert [list(group) for group in groups] == [["ran"], ["psn_global", "psn_part", "joint"]]
    for group in groups:
        fit_classifiers(only(by_hand.learner, group), by_hand.mixed, by_hand.plain, None, by_hand.reporter)
    for mine, other in zip(together.method.parameters(), by_hand.method.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def only(learner: Learner, group: dict[str, nn.Linear]) -> Learner:
    learner.method.final_layers = lambda: [group]
    return learner


class Twice(nn.Module):
    """Reads two vectors of an image in one call, and one more in another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> None:
        means = images.mean((2, 3))
        self.layer(torch.stack([means, 2 * means], 1))
        self.layer(3 * means)


def test_all_vectors_that_a_layer_reads_are_views_of_the_image(begun) -> None:
    run = begun("clan")
    model = Twice()
    learner = copy.copy(run.learner)
    learner.method = model
    found = inputs_of(learner, {"a": model.layer, "idle": model.idle}, run.plain, "", run.reporter)
    assert list(found) == ["a"]
    images = found["a"]
    count = len(run.index.train)
    assert (images.views, images.embeddings.shape) == (3, (3 * count, 3))
    one, two, three = images.embeddings.chunk(3)
    assert torch.allclose(two, 2 * one)
    assert torch.allclose(three, 3 * one)
    assert images.labels.tolist() == run.index.train.labels.tolist() * 3
    assert not model.layer._forward_pre_hooks


def test_new_batch_norms_begin_with_the_statistics_of_the_images(begun) -> None:
    run = begun("tdsa")
    norm = run.method.classifier.hidden[0]
    trunk = {name: value.clone() for name, value in run.method.backbone.named_buffers()}
    seen: list[torch.Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().double()))
    settle(run.learner, run.mixed, run.reporter)
    hook.remove()
    assert len(seen) == len(run.mixed)
    mean = torch.stack([batch.mean(0) for batch in seen]).mean(0)
    var = torch.stack([batch.var(0) for batch in seen]).mean(0)
    assert torch.allclose(norm.running_mean.double(), mean, atol=1e-5)
    assert torch.allclose(norm.running_var.double(), var, atol=1e-5)
    assert norm.momentum == 0.1
    assert all(torch.equal(trunk[name], value) for name, value in run.method.backbone.named_buffers())


def test_a_run_starts_from_fitted_classifiers(photos, tmp_path) -> None:
    console = quiet()
    sets = (
        "backbone.probe_first=true",
        "train.epochs=1",
        "backbone.freeze=all",
        "optim.lr=1e-9",
        "data.val_fraction=0.3",
    )
    result = train(small_spec(photos, "clan", *sets), tmp_path / "run", console)
    assert result["branches"]["final"]["top1"] == 1
    assert "classifier clsa: strength" in console.file.getvalue()
