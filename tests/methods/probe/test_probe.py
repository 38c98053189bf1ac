"""The probe's heads: each fits at once, survives saving, and is linear where it says so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_cli.backbones import build_backbone
from fgvc_cli.methods.base import Labelled
from fgvc_cli.methods.probe.linear import fit_linear, folds_of
from fgvc_cli.methods.probe.method import Probe
from fgvc_cli.spec.methods.probe import ProbeSpec

K, D, N = 4, 256, 60
HEADS = ("linear", "knn", "prototype")


def built(**fields: object) -> Probe:
    torch.manual_seed(0)
    backbone = build_backbone("tiny", embedding=True)
    return Probe(ProbeSpec(**fields), backbone, K, 64).eval()


def images_of(method: Probe, count: int = N, seed: int = 0) -> Labelled:
    dice = torch.Generator().manual_seed(seed)
    width = method.backbone.embedding_width
    assert width is not None
    labels = torch.arange(count) % K
    centres = torch.randn(K, width, generator=torch.Generator().manual_seed(9))
    return Labelled((centres[labels] + torch.randn(count, width, generator=dice)).abs(), labels)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("scaling", ["none", "standard", "l2", "sqrt"])
def test_it_fits_and_is_saved_whole(head: str, scaling: str) -> None:
    method, lines = built(head=head, scaling=scaling), []
    train = images_of(method)
    assert method.fit(train, None, lines.append).chosen
    logits = method.classify(train.embeddings).logits
    assert (logits.argmax(1) == train.labels).float().mean() > 0.9
    again = built(head=head, scaling=scaling)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.classify(train.embeddings).logits, logits)


@pytest.mark.parametrize("head", ["linear", "prototype"])
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_its_class_activation_map_averages_to_the_logits(head: str, scaling: str) -> None:
    method = built(head=head, scaling=scaling)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        method.fit(Labelled(method.embed(torch.randn(40, 3, 64, 64)), torch.arange(40) % K), None, print)
        output = method(images, evidence=True)
    assert output.evidence is not None
    found = output.evidence.heads["final"]
    assert found.weight is not None
    read = torch.einsum("bchw,kc->bkhw", found.map.float(), found.weight).mean((2, 3))
    gap = output.logits.double() - read.double()  # one number a class: the bias
    assert torch.allclose(gap, gap[:1].expand_as(gap), atol=1e-3 * float(read.abs().max()))
    assert output.evidence.maps["final"].kind == "cam"


def test_heads_that_are_not_linear_say_so() -> None:
    for fields in ({"head": "knn"}, {"scaling": "l2"}, {"scaling": "sqrt"}):
        evidence = built(**fields)(torch.zeros(1, 3, 64, 64), evidence=True).evidence
        assert evidence is not None
        assert evidence.heads["final"].weight is None
        assert evidence.maps["final"].kind == "activation"


def test_prototypes_are_the_nearest_by_distance() -> None:
    method = built(head="prototype", shrink=0.2)
    train, queries = images_of(method), images_of(method, 30, 5).embeddings
    method.fit(train, None, print)
    centroids: Tensor = method.head.centroids
    table = torch.cdist(queries.double(), centroids.double())
    assert torch.equal(method.classify(queries).logits.argmax(1), table.argmin(1))


def test_the_validation_split_chooses_the_strength() -> None:
    lines: list[str] = []
    strengths = (1e-3, 1e-2, 1e-1, 10.0)
    method = built(strengths=strengths)
    train, val = images_of(method, 16), images_of(method, 400, 3)
    right = {}
    for strength in strengths:
        alone = built(strengths=(strength,))
        alone.fit(train, None, print)
        right[strength] = float((alone.classify(val.embeddings).logits.argmax(1) == val.labels).float().mean())
    chosen, unseen = method.fit(train, val, lines.append)
    assert unseen is None
    assert right[chosen["strength"]] >= max(right.values()) - 0.005
    assert "chosen on the validation split" in lines[0]
    assert built(strengths=(0.5,)).fit(train, None, lines.append).chosen["strength"] == 0.5


def test_views_of_an_image_count_as_one() -> None:
    method = built(strengths=(0.1,))
    train = images_of(method)
    twice = Labelled(torch.cat([train.embeddings] * 2), torch.cat([train.labels] * 2), 2)
    method.fit(train, None, print)
    once = method.classify(train.embeddings).logits
    method.fit(twice, None, print)
    assert torch.allclose(method.classify(train.embeddings).logits.softmax(1), once.softmax(1), atol=1e-3)
    assert torch.equal(twice.as_evaluated.embeddings, train.embeddings)


@pytest.mark.parametrize(("head", "folds"), [("linear", 3), ("knn", 10), ("prototype", 10)])
@pytest.mark.parametrize("views", [1, 2])
def test_what_is_said_of_unseen_images_is_by_a_fit_to_the_other_folds(head: str, folds: int, views: int) -> None:
    """One fold after the other, each by a probe of its own."""
    fields = {"head": head, "strengths": (0.1,), "neighbours": 3}
    method = built(**fields)
    plain = images_of(method, 20)
    other = images_of(method, 20, 7).embeddings
    train = plain if views == 1 else Labelled(torch.cat([plain.embeddings, other]), plain.labels.repeat(2), 2)
    unseen = method.fit(train, None, print).unseen
    assert unseen is not None
    fold = folds_of(plain.labels, folds).tolist()
    for image in range(20):
        rows = [row for row in range(20 * views) if fold[row % 20] != fold[image]]
        alone = built(**fields)
        alone.fit(Labelled(train.embeddings[rows], train.labels[rows], views), None, print)
        said = alone.classify(plain.embeddings[image, None]).logits
        # A fit that only chooses is rougher: 1 % of a probability.
        assert torch.allclose(unseen[image].softmax(0), said[0].softmax(0), atol=0.01 if head == "linear" else 1e-5)


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_folds_are_spread_over_the_classes(folds: int) -> None:
    labels = torch.tensor([0] * 7 + [1] * 3 + [2] * 5)[torch.randperm(15, generator=torch.Generator().manual_seed(0))]
    fold = folds_of(labels, folds)
    sizes = torch.bincount(fold, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for label in range(3):
        inside = torch.bincount(fold[labels == label], minlength=folds)
        assert inside.max() - inside.min() <= 1


def test_a_class_without_images_is_never_the_answer() -> None:
    for head in HEADS:
        method = built(head=head)
        train = images_of(method)
        few = Labelled(train.embeddings[train.labels < 3], train.labels[train.labels < 3])
        method.fit(few, None, print)
        assert (method.classify(train.embeddings).logits.argmax(1) < 3).all()


def test_one_image_a_class_and_fewer_images_than_folds() -> None:
    for head in HEADS:
        method = built(head=head, folds=20)
        train = images_of(method, K)
        method.fit(train, None, print)
        assert torch.equal(method.classify(train.embeddings).logits.argmax(1), train.labels)


def test_l2_is_the_direction_alone() -> None:
    method = built(scaling="l2")
    train = images_of(method)
    method.fit(train, None, print)
    assert torch.allclose(
        method.classify(train.embeddings).logits, method.classify(5 * train.embeddings).logits, atol=1e-4
    )
    assert torch.allclose(F.normalize(train.embeddings, dim=1).norm(dim=1), torch.ones(N))


@pytest.mark.parametrize("folds", [False, True])
def test_by_likelihood_a_classifier_of_noise_is_not_sure_of_itself(folds: bool) -> None:
    """Three classes of which the features say nothing: the best answer is the same probability for each."""
    dice = torch.Generator().manual_seed(0)
    images = [Labelled(torch.randn(90, 40, generator=dice), torch.arange(90) % 3) for _ in range(2)]
    classifier = torch.nn.Linear(40, 3)
    val = None if folds else images[1]
    found = fit_linear(classifier, images[0], val, ProbeSpec(), lambda _: None, by="likelihood")
    assert found.chosen["strength"] == min(ProbeSpec().strengths)
    assert classifier(images[1].embeddings).softmax(1).max() < 0.5
