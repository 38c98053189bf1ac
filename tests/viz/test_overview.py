"""The card that galleries and pages show."""

from __future__ import annotations

import numpy as np
import torch

from fgvc_cli.methods.base import Evidence, Head
from fgvc_cli.viz.colours import SETS
from fgvc_cli.viz.kinds.saliency import saliency
from fgvc_cli.viz.overview import overview
from tests.viz.synthetic import boxes, looked, whole


def test_a_card_has_heat_and_boxes() -> None:
    features = torch.zeros(1, 3, 4, 4)
    features[0, 1, 2, 1] = 1
    evidence = Evidence(heads={"final": Head(features, torch.eye(3), whole())}, boxes={"ran": boxes((4, 4, 28, 28))})
    found = looked(evidence)
    card = overview(found.model, found.seen, 0, width=200)
    assert card.dtype == np.uint8
    assert card.shape == (round(200 * (37 / 61) ** 0.5), round(200 * (61 / 37) ** 0.5), 3)
    assert (card == SETS[0]).all(2).any()
    height, width = card.shape[:2]
    hot, cold = card[round(0.6 * height), round(0.4 * width)], card[round(0.3 * height), round(0.7 * width)]
    assert hot.sum() > cold.sum() + 100
    again = overview(found.model, found.seen, 0, width=200, heat=saliency(found.seen))
    assert (card == again).all()
