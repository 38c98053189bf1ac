from __future__ import annotations

import pytest
import torch

from fgvc_cli.data.types import Batch
from fgvc_cli.engine.localisation import Localisation, best_box, mean_box, peak
from fgvc_cli.methods.base import Boxes, Evidence, Maps


def batch_of(boxes: list[list[float]], size: int = 10) -> Batch:
    count = len(boxes)
    return Batch(
        torch.zeros(count, 3, size, size),
        torch.zeros(count, dtype=torch.int64),
        torch.arange(count),
        torch.zeros(count, 2, 3),
        torch.tensor(boxes),
    )


def evidence_of(boxes: list[list[float]], maps: torch.Tensor) -> Evidence:
    frame = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).expand(len(boxes), 4)
    ones = torch.ones(len(boxes), 1)
    return Evidence(
        boxes={"ran": Boxes(torch.tensor(boxes)[:, None], ones, ones > 0)}, maps={"cam": Maps("cam", maps, frame)}
    )


def test_by_hand_over_two_batches() -> None:
    located = Localisation(torch.tensor([0.0, 0.0, 5.0, 10.0]))
    map_ = torch.zeros(1, 1, 5, 5)
    map_[0, 0, 1, 3] = 1  # peak at x 7, y 3
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]], map_), batch_of([[0.0, 0.0, 10.0, 4.0]]))
    located.update(evidence_of([[5.0, 5.0, 10.0, 10.0]], map_), batch_of([[5.0, 5.0, 10.0, 10.0]]))
    result = located.compute()
    assert result["boxes"]["ran"] == pytest.approx({"mean_iou": (0.4 + 1) / 2, "over_half": 0.5})
    assert result["boxes"]["whole image"] == pytest.approx({"mean_iou": (0.4 + 0.25) / 2, "over_half": 0})
    assert result["boxes"]["mean training box"]["mean_iou"] == pytest.approx((20 / 70 + 0) / 2)
    assert result["maps"]["cam"] == {"pointing": 0.5}


def test_an_image_whose_box_was_cropped_away_does_not_count() -> None:
    located = Localisation(torch.zeros(4))
    truth = [[0.0, 0.0, 10.0, 10.0], [3.0, 3.0, 3.0, 9.0]]
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]] * 2, torch.zeros(2, 1, 2, 2)), batch_of(truth))
    assert located.compute()["boxes"]["ran"] == {"mean_iou": 1, "over_half": 1}


def test_the_best_valid_box_answers() -> None:
    xyxy = torch.arange(12.0).view(1, 3, 4)
    boxes = Boxes(xyxy, torch.tensor([[0.9, 0.2, 0.5]]), torch.tensor([[False, True, True]]))
    assert torch.equal(best_box(boxes), xyxy[:, 2])


def test_the_peak_lies_in_the_maps_frame() -> None:
    values = torch.zeros(1, 1, 2, 4)
    values[0, 0, 1, 0] = 1
    assert peak(Maps("cam", values, torch.tensor([[10.0, 20.0, 18.0, 28.0]]))).tolist() == [[11.0, 26.0]]


def test_mean_box() -> None:
    batches = [batch_of([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]]), batch_of([[2.0, 2.0, 4.0, 4.0]])]
    assert mean_box(batches, torch.device("cpu")).tolist() == [1.0, 1.0, 3.0, 3.0]
