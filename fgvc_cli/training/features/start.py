"""A start from fitted classifiers: each linear layer that ends in logits becomes a logistic regression (LP-FT).

What it reads is computed by the starting weights, once. New layers below it are random still; features of random layers
are worth more to a fitted classifier than to a random one, and nothing that was trained is spoilt by large gradients.

Source: Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fgvc_cli.backbones import Backbone
from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.inference.features.batches import Batches
from fgvc_cli.machine.device import autocast
from fgvc_cli.methods.base import Labelled, Method
from fgvc_cli.methods.probe.linear import fit_linear
from fgvc_cli.progress import Reporter
from fgvc_cli.spec.methods.probe import ProbeSpec
from fgvc_cli.training.learner import Learner

_LARGEST = 1 << 29  # values that the images' inputs of one layer may have; a wider layer stays random


def fit_classifiers(learner: Learner, mixed: Batches, train: Batches, val: Batches | None, reporter: Reporter) -> None:
    """Fit every classifier of a method, in the order in which one's answers decide what another reads.

    Args:
        learner: at its start. Its method is changed.
        mixed: the training images as an epoch has them, shuffled.
        train: the training images as in evaluation.
        val: the validation split, which chooses the strengths; None: folds of the training images do.
        reporter: shows the progress.
    """
    method = learner.method
    with torch.no_grad():
        settle(learner, mixed, reporter)
        for group in method.final_layers():
            found = inputs_of(learner, group, train, "features for the classifiers", reporter)
            chosen = (
                None if val is None else inputs_of(learner, group, val, "features of the validation split", reporter)
            )
            for name, images in found.items():
                told = partial(_told, name, reporter)
                asked = None if chosen is None else chosen.get(name)
                # A weak classifier must not be sure of itself: methods average the answers of several.
                fit_linear(group[name], images, asked, ProbeSpec(), told, by="likelihood")


def _told(name: str, reporter: Reporter, line: str) -> None:
    reporter.line(f"classifier {name}: {line}")


def settle(learner: Learner, mixed: Batches, reporter: Reporter) -> None:
    """Give new BatchNorm layers the statistics of the training images: those that they begin with are of nothing."""
    norms = list(_new_norms(learner.method))
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    learner.method.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for _ in _run(learner, mixed, "statistics of new layers", reporter):
        pass
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _new_norms(method: Method) -> Iterator[_BatchNorm]:
    inside = {id(module) for part in method.modules() if isinstance(part, Backbone) for module in part.modules()}
    return (part for part in method.modules() if isinstance(part, _BatchNorm) and id(part) not in inside)


def inputs_of(
    learner: Learner, layers: Mapping[str, nn.Linear], batches: Batches, title: str, reporter: Reporter
) -> dict[str, Labelled]:
    """What linear layers read of each image.

    A layer that reads V vectors of an image, in one call (B, V, D) or in several, has V views of it. A layer that reads
    nothing, or too much to keep, is left out.
    """
    learner.method.eval()
    kept: dict[str, list[Tensor]] = {name: [] for name in layers}
    labels = []
    with _watched(layers) as seen:
        for truth in _run(learner, batches, title, reporter):
            labels.append(truth)
            for name in layers:
                if seen[name]:
                    kept[name].append(torch.cat(seen[name], 1))
                    seen[name].clear()
    truth = torch.cat(labels)
    found = {name: _joined(parts, truth) for name, parts in kept.items() if parts}
    return {name: images for name, images in found.items() if images.embeddings.numel() <= _LARGEST}


def _joined(parts: list[Tensor], labels: Tensor) -> Labelled:
    """Batches of (B, V, D) → (V · N, D), view after view."""
    vectors = torch.cat(parts)
    views = vectors.shape[1]
    return Labelled(vectors.transpose(0, 1).flatten(0, 1).contiguous(), labels.repeat(views), views)


def _run(learner: Learner, batches: Batches, title: str, reporter: Reporter) -> Iterator[Tensor]:
    """Run the method over images; after each batch its labels, (B,)."""
    spec, device = learner.spec, learner.device
    reporter.begin(title, len(batches))
    try:
        for batch in batches.epoch(0):
            batch = to_device(batch, device, *spec.data.normalisation)
            with autocast(device, spec.train.precision):
                learner.method(batch.images)
            yield batch.labels
            reporter.advance(len(batch.labels))
    finally:
        reporter.end()


@contextmanager
def _watched(layers: Mapping[str, nn.Linear]) -> Iterator[dict[str, list[Tensor]]]:
    """What the layers read from now on, by name: (B, V, D) of each call."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: seen[name].append(given[0].float().reshape(len(given[0]), -1, given[0].shape[-1]))

    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
