"""Scores of known and unknown images beside loops in float64, and a detector that is stored and read again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fgvc_cli.evaluation.certainty import detector
from fgvc_cli.evaluation.certainty.detector import SCORES, Detector, Distances, Seen, chosen, of_logits
from fgvc_cli.ops.vectors.mahalanobis import shrunk_covariance

FAR = Seen(torch.zeros(50, 5), torch.randn(50, 8, generator=torch.Generator().manual_seed(5)))


def drawn(images: int, classes: int, width: int, seed: int) -> tuple[Seen, torch.Tensor]:
    """Images around class means, and logits that know them."""
    dice = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(images) % classes
    embeddings = means[labels] + torch.randn(images, width, generator=dice)
    return Seen(embeddings @ means.mT - means.square().sum(1) / 2, embeddings), labels


@pytest.mark.parametrize("width", [6, 90])
def test_scores_are_what_loops_give(width: int) -> None:
    train, labels = drawn(60, 4, width, 0)
    asked, _ = drawn(7, 4, width, 1)
    found = Distances.of(train.embeddings, labels).scores(asked.embeddings)
    vectors = train.embeddings.double()
    means = [vectors[labels == one].mean(0) for one in range(4)]
    apart = torch.stack([vector - means[label] for vector, label in zip(vectors, labels.tolist(), strict=True)])
    covariance = shrunk_covariance(apart)
    gaps = [means[label] - vectors.mean(0) for label in labels.tolist()]
    between = sum(torch.outer(gap, gap) for gap in gaps) / len(gaps)
    within, around = torch.linalg.inv(covariance), torch.linalg.inv(covariance + between)
    for row, vector in enumerate(asked.embeddings.double()):
        own = min(float((vector - mean) @ within @ (vector - mean)) for mean in means)
        background = float((vector - vectors.mean(0)) @ around @ (vector - vectors.mean(0)))
        assert float(found["mahalanobis"][row]) == pytest.approx(background - own, abs=1e-3, rel=1e-4)
        cosines = sorted((float(torch.cosine_similarity(vector, other, 0)) for other in vectors), reverse=True)
        assert float(found["neighbours"][row]) == pytest.approx(cosines[4], abs=1e-5)
        logits = asked.logits[row].double()
        plain = of_logits(asked.logits, 2.0)
        assert float(plain["probability"][row]) == pytest.approx(float((logits / 2).softmax(0).max()), abs=1e-6)
        assert float(plain["max_logit"][row]) == pytest.approx(float(logits.max()), rel=1e-5)
        assert float(plain["energy"][row]) == pytest.approx(float(logits.logsumexp(0)), rel=1e-5)


def test_thresholds_accept_95_per_cent_of_the_validation_images_and_unknown_ones_score_lower() -> None:
    train, labels = drawn(200, 5, 8, 0)
    val, val_labels = drawn(100, 5, 8, 1)
    fitted = Detector.fitted(train, labels, val, val_labels, FAR, 1.0)
    assert set(fitted.thresholds) == set(fitted.validation) == set(SCORES)
    assert fitted.default == chosen(fitted.validation, 50)
    known = fitted.scores(val)
    for name in SCORES:
        assert (known[name] >= fitted.thresholds[name]).mean() >= 0.95
    unknown = fitted.scores(FAR)
    assert np.median(unknown["mahalanobis"]) < np.median(known["mahalanobis"])
    assert fitted.validation["mahalanobis"] > 0.9


def test_the_default_also_tells_images_that_are_no_class_at_all() -> None:
    """Answers tell the classes that play unknown ones best, and are surest of what is far: distances must count."""
    train, labels = drawn(400, 10, 8, 0)
    val, val_labels = drawn(200, 10, 8, 1)
    noise = 3 * torch.randn(val.embeddings.shape, generator=torch.Generator().manual_seed(2))
    val = Seen(val.logits, val.embeddings + noise)
    far = 20 * torch.randn(50, 8, generator=torch.Generator().manual_seed(3))
    unsure, sure = (Seen(sign * 99 * torch.ones(50, 10), far) for sign in (-1, 1))
    doubted, trusted = (Detector.fitted(train, labels, val, val_labels, tiles, 1.0) for tiles in (unsure, sure))
    assert max(SCORES, key=lambda name: doubted.validation[name]) == "max_logit"
    assert max(SCORES, key=lambda name: trusted.validation[name]) == "combined"
    assert trusted.validation["mahalanobis"] == doubted.validation["mahalanobis"]
    above = (trusted.scores(val)["max_logit"][:, None] > 99).mean()  # of a random pair, the known image's is higher
    assert trusted.validation["max_logit"] == pytest.approx(doubted.validation["max_logit"] - 0.5 + above / 2)


@pytest.mark.parametrize(
    ("best", "images", "default"),
    [(0.94, 400, "energy"), (0.92, 400, "combined"), (0.98, 36, "combined"), (0.91, 400, "combined")],
)
def test_another_score_is_the_default_only_if_it_is_surely_better(best: float, images: int, default: str) -> None:
    """The standard error of 0.9 is 0.3 / sqrt(n): 0.015 of 400 images, 0.05 of 36."""
    judged = dict.fromkeys(SCORES, 0.8) | {"combined": 0.9, "energy": best}
    assert chosen(judged, images) == default


def test_the_combined_score_is_the_sum_of_two_that_are_standardised_on_the_validation_split() -> None:
    train, labels = drawn(200, 5, 8, 0)
    val, val_labels = drawn(100, 5, 8, 1)
    fitted = Detector.fitted(train, labels, val, val_labels, FAR, 1.0)
    asked, _ = drawn(9, 5, 8, 2)
    found, known = fitted.scores(asked), fitted.scores(val)
    for row in range(9):
        parts = [(found[name][row] - known[name].mean()) / known[name].std() for name in ("max_logit", "mahalanobis")]
        assert found["combined"][row] == pytest.approx(sum(parts))


def test_images_far_from_everything_score_lowest() -> None:
    """More numbers than images: the covariances are shrunk, and a far image must not seem near for that."""
    dice = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 6
    embeddings = torch.randn(6, 100, generator=dice)[labels] + 0.5 * torch.randn(60, 100, generator=dice)
    scores = Distances.of(embeddings, labels).scores
    far = scores(10 * torch.randn(40, 100, generator=dice))["mahalanobis"]
    assert float(far.max()) < float(scores(embeddings)["mahalanobis"].min())


def test_a_wide_embedding_takes_the_room_of_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of REAPS has 27,648 numbers with EfficientNet-Lite0: a covariance of them, 6 GB, and another, six times."""
    monkeypatch.setattr(detector, "_SPAN", 16)
    train, labels = drawn(60, 4, 27_648, 0)
    found = Distances.of(train.embeddings, labels)
    assert found.axes.shape == (27_648, 15)
    assert found.within.shape == found.around.shape == (15, 15)
    known, _ = drawn(20, 4, 27_648, 1)
    far = torch.randn(20, 27_648, generator=torch.Generator().manual_seed(5))
    assert found.scores(known.embeddings)["mahalanobis"].min() > found.scores(far)["mahalanobis"].max()


def test_what_is_stored_gives_the_same_scores() -> None:
    train, labels = drawn(40, 3, 4, 0)
    fitted = Detector.fitted(train, labels, train, labels, Seen(FAR.logits[:, :3], FAR.embeddings[:, :4]), 1.3)
    again = Detector.restored(*fitted.state(), torch.device("cpu"))
    assert again.default == fitted.default
    for name, values in fitted.scores(train).items():
        assert np.array_equal(values, again.scores(train)[name])
    with pytest.raises(KeyError):
        Detector.restored({}, {}, torch.device("cpu"))


def test_two_classes_and_one_image_each() -> None:
    seen = Seen(torch.eye(2), torch.eye(2, 5))
    fitted = Detector.fitted(seen, torch.arange(2), seen, torch.arange(2), seen, 1.0)
    assert set(fitted.validation.values()) == {0.5}
    assert all(np.isfinite(values).all() for values in fitted.scores(seen).values())


def test_images_that_are_all_the_same_have_finite_scores() -> None:
    scores = Distances.of(torch.ones(6, 9), torch.arange(6) % 2).scores(torch.randn(3, 9))
    assert all(bool(values.isfinite().all()) for values in scores.values())
