"""Which images are gathered, which classes get a colour, and where the points lie."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from fgvc_cli.backbones import EMBEDDING
from fgvc_cli.inference.look import look, open_model
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.progress import Reporter
from fgvc_cli.terminal import Console
from fgvc_cli.viz.plots.embedding import Features, embedding_figure, gather, picked_classes
from fgvc_cli.viz.plots.palette import COLOURS, GREY
from fgvc_cli.viz.plots.projection import Projection
from tests.conftest import small_spec, untrained


def features_of(pairs: list[tuple[int, int]]) -> Features:
    labels, predicted = np.array(pairs, dtype=np.int64).T
    return Features(np.zeros((len(pairs), 2), np.float32), labels, predicted)


def test_features_are_the_methods_embedding(photos: Path, tmp_path: Path) -> None:
    file = untrained(small_spec(photos), ("blue", "green", "red"), tmp_path / "model.safetensors")
    model = open_model(file, EvalRequest(batch_size=2))
    files = sorted((photos / "test").rglob("*.png"))
    pictures = [Picture(str(file), file, label=place // 3) for place, file in enumerate(files)]
    found = gather(model, pictures, Reporter(Console(file=io.StringIO())))
    maps: list[torch.Tensor] = []
    model.trained.method.backbone.register_forward_hook(lambda _m, _i, out: maps.append(out[EMBEDDING]))
    logits = torch.cat([seen.output.logits for seen in look(model, pictures)])
    np.testing.assert_allclose(found.values, torch.cat(maps).numpy(), rtol=1e-5, atol=1e-6)
    assert found.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert found.predicted.tolist() == logits.argmax(1).tolist()


def test_of_many_classes_those_confused_most_get_a_colour() -> None:
    """15 classes: 3 and 7 three times, either way round; 1 and 2 twice; the rest are right."""
    wrong = [(3, 7), (7, 3), (3, 7), (1, 2), (2, 1)]
    right = [(label, label) for label in range(15)]
    assert picked_classes(features_of(wrong + right), 15) == [1, 2, 3, 7]
    assert picked_classes(features_of(right), 15) == list(range(10))
    assert picked_classes(features_of([(0, 0), (4, 4), (4, 0)]), 14) == [0, 4]
    pairs = [(label, label + 1) for label in range(0, 40, 2)]
    assert picked_classes(features_of(pairs), 40) == list(range(10))


@pytest.mark.parametrize("classes", [3, 40])
def test_points_and_legend(classes: int) -> None:
    features = features_of([(0, 0), (1, 1), (0, 1), (2, 2)])
    points = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    names = ["a$x$", *map(str, range(1, classes))]
    (axes,) = embedding_figure(Projection(points, ("x", "y")), features, names, "title").axes
    drawn = {}
    for dots in axes.collections:
        colour = dots.get_edgecolor() if not len(dots.get_facecolor()) else dots.get_facecolor()
        for point in dots.get_offsets().tolist():
            drawn[tuple(point)] = (tuple(np.round(255 * colour[0, :3])), bool(len(dots.get_facecolor())))

    def rgb(colour: str) -> tuple[int, ...]:
        return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))

    third = COLOURS[2] if classes == 3 else GREY  # of 40 only the two that are confused are coloured
    assert drawn == {
        (1, 2): (rgb(COLOURS[0]), True),
        (3, 4): (rgb(COLOURS[1]), True),
        (5, 6): (rgb(COLOURS[0]), False),
        (7, 8): (rgb(third), True),
    }
    texts = axes.get_legend().get_texts()
    others = ["2"] if classes == 3 else ["38 other classes"]
    assert [text.get_text() for text in texts] == ["a$x$", "1", *others, "hollow: wrong prediction"]
    assert not any(text.get_parse_math() for text in texts)
