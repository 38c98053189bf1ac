from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fgvc_cli.data.datasets.demo import read
from fgvc_cli.data.demo.folder import generate
from fgvc_cli.data.demo.image import TRAITS
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.types import Batch
from fgvc_cli.evaluation.localisation import Localisation, TellingParts, best_box, mean_box, peak, spread
from fgvc_cli.methods.base import Boxes, Evidence, Maps
from fgvc_cli.ops.geometry import to_input, to_original
from fgvc_cli.spec.data import DataSpec

NO_LOGITS = torch.zeros(2, 2)


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
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]], map_), batch_of([[0.0, 0.0, 10.0, 4.0]]), NO_LOGITS)
    located.update(evidence_of([[5.0, 5.0, 10.0, 10.0]], map_), batch_of([[5.0, 5.0, 10.0, 10.0]]), NO_LOGITS)
    result = located.compute()
    assert result["boxes"]["ran"] == pytest.approx({"mean_iou": (0.4 + 1) / 2, "over_half": 0.5})
    assert result["boxes"]["whole image"] == pytest.approx({"mean_iou": (0.4 + 0.25) / 2, "over_half": 0})
    assert result["boxes"]["mean training box"]["mean_iou"] == pytest.approx((20 / 70 + 0) / 2)
    assert result["maps"]["cam"] == {"pointing": 0.5}
    assert "parts" not in result


def test_an_image_whose_box_was_cropped_away_does_not_count() -> None:
    located = Localisation(torch.zeros(4))
    truth = [[0.0, 0.0, 10.0, 10.0], [3.0, 3.0, 3.0, 9.0]]
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]] * 2, torch.zeros(2, 1, 2, 2)), batch_of(truth), NO_LOGITS)
    assert located.compute()["boxes"]["ran"] == {"mean_iou": 1, "over_half": 1}


def test_nothing_is_said_where_no_image_counts() -> None:
    located = Localisation(torch.zeros(4))
    located.update(evidence_of([[0.0, 0.0, 9.0, 9.0]], torch.zeros(1, 1, 2, 2)), batch_of([[3.0, 3, 3, 9]]), NO_LOGITS)
    assert located.compute() == {"boxes": {}, "maps": {}}


def test_a_map_of_one_cell_points_nowhere() -> None:
    located = Localisation(torch.tensor([0.0, 0.0, 5.0, 10.0]))
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]], torch.ones(1, 8, 1, 1)), batch_of([[0.0, 0, 9, 9]]), NO_LOGITS)
    assert located.compute()["maps"] == {}


@pytest.mark.parametrize("value", [0.0, -1.0, 0.7, torch.nan, torch.inf])
def test_a_map_that_says_nothing_is_a_miss(value: float) -> None:
    """Though the first of its equal cells lies in the true box."""
    located = Localisation(torch.tensor([0.0, 0.0, 5.0, 10.0]))
    map_ = torch.full((1, 1, 5, 5), value)
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]], map_), batch_of([[0.0, 0, 9, 9]]), NO_LOGITS)
    assert located.compute()["maps"]["cam"] == {"pointing": 0}


def test_raw_channels_point_nowhere() -> None:
    shown = evidence_of([[0.0, 0.0, 10.0, 10.0]], torch.ones(1, 8, 2, 2))
    shown.maps["channels"] = replace(shown.maps["cam"], kind="channels")
    located = Localisation(torch.tensor([0.0, 0.0, 5.0, 10.0]))
    located.update(shown, batch_of([[0.0, 0, 9, 9]]), NO_LOGITS)
    assert list(located.compute()["maps"]) == ["cam"]


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


def test_to_input_undoes_to_original() -> None:
    torch.manual_seed(0)
    affine, points = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 7, 2, dtype=torch.float64)
    expected = torch.stack([points[b] @ affine[b, :, :2].T + affine[b, :, 2] for b in range(5)])
    torch.testing.assert_close(to_original(affine, points), expected)
    torch.testing.assert_close(to_input(affine, to_original(affine, points)), points)


def test_a_spread_covers_the_box() -> None:
    points = spread(torch.tensor([[2.0, 4.0, 26.0, 16.0]]))[0]
    assert points.mean(0).tolist() == pytest.approx([14, 10])
    assert points.amin(0).tolist() == pytest.approx([3, 4.5])
    assert points[1].tolist() == pytest.approx([5, 4.5])


# Three classes of three parts. Input 10×10 px; the original is 20×40 and lies around it: x' = 2x + 1, y' = 4y.
AFFINE = torch.tensor([[2.0, 0.0, 1.0], [0.0, 4.0, 0.0]])
OPTIONS = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 1, 0]])


def parts_batch(labels: list[int]) -> Batch:
    whole = batch_of([[0.0, 0.0, 10.0, 10.0]] * len(labels))
    return replace(whole, labels=torch.tensor(labels), to_original=AFFINE.expand(len(labels), 2, 3))


def parts_of(points: list[list[list[float]]], reach: float = 6.0) -> TellingParts:
    return TellingParts(torch.tensor(points), torch.full((len(points),), reach), OPTIONS)


def test_which_parts_tell() -> None:
    seen = [[5.0, 5.0, 1.0], [9.0, 9.0, 1.0], [15.0, 30.0, 1.0]]
    hidden = [[5.0, 5.0, 1.0], [9.0, 9.0, 0.0], [25.0, 30.0, 1.0]]  # the last one lies right of the input
    parts = parts_of([seen, seen, hidden, seen])
    logits = torch.tensor([[9.0, 3.0, 1.0], [1.0, 3.0, 9.0], [1.0, 3.0, 2.0], [5.0, 1.0, 2.0]])
    telling = parts.telling(parts_batch([0, 0, 0, 2]), logits)
    assert telling.tolist() == [
        [False, True, True],  # 0 against 1, second likeliest
        [True, True, False],  # 0 against 2, wrongly preferred
        [False, False, False],  # 0 against 1, both parts that differ out of sight
        [True, True, False],  # 2 against 0
    ]


def test_the_reach_is_measured_in_the_originals_pixels() -> None:
    parts = parts_of([[[9.0, 20.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    points = torch.tensor([[[4.0, 5.0], [6.9, 5.0], [7.1, 5.0], [4.0, 6.4], [4.0, 6.6]]])
    first = torch.tensor([[True, False, False]])
    assert parts.near(parts_batch([0]), points, first).tolist() == [[True, True, False, True, False]]
    assert not parts.near(parts_batch([0]), points, torch.zeros_like(first)).any()


def test_pointing_at_parts_by_hand() -> None:
    seen = [[5.0, 5.0, 1.0], [11.0, 20.0, 1.0], [11.0, 20.0, 1.0]]
    nothing = [[5.0, 5.0, 1.0], [11.0, 20.0, 0.0], [11.0, 20.0, 0.0]]
    maps = torch.zeros(3, 1, 5, 5)
    maps[0, 0, 2, 2] = maps[1, 0, 0, 0] = maps[2, 0, 2, 2] = 1  # peaks at 5, 5 in the input, that is 11, 20; and 1, 1
    located = Localisation(torch.zeros(4), parts_of([seen, seen, nothing]))
    logits = torch.tensor([[9.0, 3.0, 1.0]]).expand(3, 3)
    located.update(evidence_of([[0.0, 0.0, 10.0, 10.0]] * 3, maps), parts_batch([0, 0, 0]), logits)
    result = located.compute()
    assert result["maps"]["cam"] == {"pointing": 1, "pointing_part": 0.5}
    assert result["parts"]["images"] == 2
    # of 12×12 points over 20×40 px those within 6 px of 11, 20: a disc of 113 of 800 px
    assert result["parts"]["random_point"] == pytest.approx(np.pi * 36 / 800, abs=0.02)


@pytest.fixture(scope="module")
def finches(tmp_path_factory):
    root = tmp_path_factory.mktemp("finches")
    return read(generate(root, size=64, train_per_class=1, test_per_class=2))


def test_the_demo_knows_its_parts(finches) -> None:
    assert len(finches.part_options) == 12
    assert finches.part_options[0] == tuple(TRAITS[0][name] for name in finches.part_names)
    parts = TellingParts.of(finches, finches.test, torch.device("cpu"))
    assert parts is not None
    for one in range(12):
        for two in range(12):
            differ = [TRAITS[one][name] != TRAITS[two][name] for name in finches.part_names]
            assert (parts.options[one] != parts.options[two]).tolist() == differ
    sides = (finches.test.boxes[:, 2:] - finches.test.boxes[:, :2]).max(1)
    np.testing.assert_allclose(parts.reach, 0.15 * sides, rtol=1e-6)


@pytest.mark.parametrize("resize", [48, 56])
def test_who_looks_at_the_part_hits_it(finches, resize) -> None:
    """Peaks placed on a part that tells, through the loader's own geometry, are hits; far away they are not."""
    spec = DataSpec(dataset="demo", image_size=48, resize=resize, workers=0)
    parts = TellingParts.of(finches, finches.test, torch.device("cpu"))
    batch = next(make_loader(finches, finches.test, spec, batch_size=24, train=False).epoch(0))
    torch.manual_seed(0)
    telling = parts.telling(batch, torch.randn(24, 12))
    assert telling.sum(1).float().mean() > 1.5
    place = to_input(batch.to_original, parts.points[:, :, :2])
    on_part = parts.near(batch, place, telling)
    assert on_part[telling].all()
    far = torch.full((24, 1, 2), -40.0)
    assert not parts.near(batch, far, telling).any()


def test_without_options_or_boxes_no_parts(finches) -> None:
    device = torch.device("cpu")
    assert TellingParts.of(replace(finches, part_options=()), finches.test, device) is None
    assert TellingParts.of(finches, replace(finches.test, parts=None), device) is None
    assert TellingParts.of(finches, replace(finches.test, boxes=None), device) is None
