from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from fgvc_cli.methods.base import Labelled
from fgvc_cli.methods.probe.heads import KnnHead
from fgvc_cli.ops.vectors import neighbours
from fgvc_cli.ops.vectors.centroids import shrunken_centroids
from fgvc_cli.ops.vectors.neighbours import nearest
from fgvc_cli.spec.methods.probe import ProbeSpec


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block", [1, 40, 1 << 23])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_it_is_the_sorted_table_of_all_products(monkeypatch, block: int, k: int) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    queries, gallery = vectors(7, 1), vectors(50)
    products, rows = nearest(queries, gallery, k)
    table = (queries.double() @ gallery.double().T).sort(1, descending=True)
    assert torch.equal(rows, table.indices[:, :k])
    assert torch.allclose(products.double(), table.values[:, :k], atol=1e-5)


def test_leaving_one_out(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 60)
    gallery = torch.nn.functional.normalize(vectors(30), dim=1)
    _, rows = nearest(gallery, gallery, 29, without=torch.arange(30))
    for query, found in enumerate(rows.tolist()):
        assert sorted([*found, query]) == list(range(30))
    _, first = nearest(gallery, gallery, 1, without=torch.full((30,), -1))
    assert first[:, 0].tolist() == list(range(30))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 2.0])
def test_centroids_are_those_of_scikit_learn(threshold: float) -> None:
    features, labels = vectors(60) + torch.arange(8), torch.arange(60) % 7 // 2
    centroids, counts = shrunken_centroids(features.double(), labels, 4, threshold)
    theirs = NearestCentroid(shrink_threshold=threshold or None).fit(features.double().numpy(), labels.numpy())
    assert torch.allclose(centroids, torch.from_numpy(theirs.centroids_), atol=1e-9)
    assert counts.tolist() == torch.bincount(labels).tolist()


def test_votes_are_those_of_scikit_learn() -> None:
    features, labels, queries = vectors(60), torch.arange(60) % 5, vectors(40, 3)
    head = KnnHead(ProbeSpec(head="knn", neighbours=9), 8, 5)
    head.fit(Labelled(features, labels), None, print)
    theirs = KNeighborsClassifier(9, weights=lambda distance: np.exp((1 - distance) / 0.07), metric="cosine")
    theirs.fit(features.numpy(), labels.numpy())
    assert head(queries).argmax(1).tolist() == theirs.predict(queries.numpy()).tolist()
    shares = torch.from_numpy(theirs.predict_proba(queries.numpy())).float()
    assert torch.allclose(head(queries).softmax(1), (9 * shares + 1 / 5) / 10, atol=1e-4)
