"""AP-CNN's ROI pyramid and Algorithm 1 beside literal versions that go image by image; edge cases; dice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fgvc_cli.methods.apcnn.method import ApCnn
from fgvc_cli.methods.apcnn.rois import RoiPyramid, Rois, chosen_roi, joined, merged_cells, random_rois
from fgvc_cli.spec.methods.apcnn import ApCnnSpec

SIZE = 64
STRIDES = (8, 16, 32)


def pyramid_of(image: int = 448, **fields: Any) -> RoiPyramid:
    sizes = [(-(-image // stride),) * 2 for stride in STRIDES]
    return RoiPyramid(ApCnnSpec(**fields), STRIDES, [(h, w) for h, w in sizes], image)


def gates(batch: int, image: tuple[int, int], seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(batch, 1, -(-image[0] // s), -(-image[1] // s)).sigmoid() for s in STRIDES]


def literal_rois(
    gate: Tensor, level: int, spec: ApCnnSpec, image: tuple[int, int], *, cut_first: bool = False
) -> list[list[float]]:
    """One image, one level, in float64: anchors cell by cell, those above the mean, NMS, then cut to the image.

    Boxes are first and last pixel, both inside. `cut_first` cuts them before the NMS, which the authors' code does not.
    """
    h, w = gate.shape
    side = spec.anchor_sizes[level] * min(image) / 448
    values = gate.double().tolist()
    rows = range(int(spec.border * h), int((1 - spec.border) * h))
    columns = range(int(spec.border * w), int((1 - spec.border) * w))
    mean = sum(values[i][j] for i in rows for j in columns) / (h * w)
    candidates = []
    for i in rows:
        for j in columns:
            if values[i][j] > mean:
                y, x = (i + spec.anchor_offset) * STRIDES[level], (j + spec.anchor_offset) * STRIDES[level]
                box = [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
                candidates.append((values[i][j], cut(box, image) if cut_first else box))
    kept: list[list[float]] = []
    for _, box in sorted(candidates, key=lambda candidate: -candidate[0]):
        if len(kept) < spec.top_k[level] and all(literal_iou(box, one) <= spec.nms_iou for one in kept):
            kept.append(box)
    return [[x1, y1, x2 + 1, y2 + 1] for x1, y1, x2, y2 in (cut(box, image) for box in kept)]


def cut(box: list[float], image: tuple[int, int]) -> list[float]:
    return [max(box[0], 0), max(box[1], 0), min(box[2], image[1] - 1), min(box[3], image[0] - 1)]


def literal_iou(first: list[float], second: list[float]) -> float:
    """Of boxes whose last pixel is inside: the IoU "with +1"."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    overlap = max(width, 0) * max(height, 0)
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (first, second)]
    return overlap / (sum(areas) - overlap)


@pytest.mark.parametrize(
    "fields", [{}, {"border": 0.2}, {"border": 0, "top_k": (9, 9, 9)}, {"anchor_offset": 0.5}], ids=str
)
@pytest.mark.parametrize(
    ("built", "image"), [(448, (448, 448)), (448, (441, 445)), (448, (200, 330)), (100, (100, 100))]
)
def test_the_rois_equal_the_literal_version(fields: dict[str, Any], built: int, image: tuple[int, int]) -> None:
    """Of the size the method was built for, with overlaps known beforehand, and of others, one with the same maps."""
    pyramid = pyramid_of(built, **fields)
    given = gates(3, image)
    for level, (rois, gate) in enumerate(zip(pyramid.of_gates(given, image), given, strict=True)):
        for b in range(3):
            expected = literal_rois(gate[b, 0], level, pyramid.spec, image)
            found = rois.boxes[b][rois.valid[b]]
            torch.testing.assert_close(found, torch.tensor(expected).view(-1, 4))
            scores = rois.scores[b]
            assert (scores.diff() <= 0).all()  # by falling score, 0 where not valid
            assert not scores[~rois.valid[b]].any()


def test_anchors_suppress_each_other_before_they_are_cut() -> None:
    """The released order, on sets where the other one keeps other boxes: at level 4 some in a thousand."""
    pyramid, image = pyramid_of(), (448, 448)
    gate = torch.rand(600, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    rois, differ = pyramid.select(1, gate, image), 0
    for b in range(600):
        expected = literal_rois(gate[b, 0], 1, pyramid.spec, image)
        torch.testing.assert_close(rois.boxes[b][rois.valid[b]], torch.tensor(expected))
        differ += expected != literal_rois(gate[b, 0], 1, pyramid.spec, image, cut_first=True)
    assert differ > 0


def test_what_is_kept_from_the_start_follows_the_module() -> None:
    pyramid = pyramid_of(64)
    assert not pyramid.state_dict()
    given = [gate.double() for gate in gates(2, (64, 64))]
    before = pyramid.of_gates(given, (64, 64))
    after = pyramid.to(torch.float64).of_gates(given, (64, 64))
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(before, after, strict=True))
    assert after[0].boxes.dtype == torch.float32


def test_a_constant_gate() -> None:
    """With a border every candidate is above the mean, and the first ones win; without, none is."""
    flat = [torch.full((2, 1, n, n), 0.5) for n in (56, 28, 14)]
    rois = pyramid_of().of_gates(flat, (448, 448))
    assert all(level.valid[:, 0].all() for level in rois)
    assert rois[0].boxes[0, 0].tolist() == [8, 8, 73, 73]  # cell (5, 5): centre 40
    for value in (0.5, 0.1, 0.7, 0.9999):
        flat = [torch.full((2, 1, n, n), value) for n in (56, 28, 14)]
        none = pyramid_of(border=0).of_gates(flat, (448, 448))
        assert not any(level.valid.any() for level in none)


@pytest.mark.parametrize("border", [0.0, 0.1])
@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_gate_that_says_nothing_has_no_roi_and_shows_the_whole_map(border: float, value: float) -> None:
    """All zero, as a saturated sigmoid is; or not a number."""
    rois = pyramid_of(border=border).of_gates([torch.full((2, 1, n, n), value) for n in (56, 28, 14)], (448, 448))
    assert not any(level.valid.any() for level in rois)
    assert all(torch.isfinite(level.boxes).all() for level in rois)
    assert merged_cells(joined(rois), 8, (56, 56)).tolist() == [[0, 0, 56, 56]] * 2
    assert not chosen_roi(rois, (0.3, 0.3, 1.0))[1].any()


def test_a_map_of_one_cell_has_a_candidate() -> None:
    rois = pyramid_of(20, border=0.4).of_gates(gates(2, (20, 20)), (20, 20))
    assert [level.boxes.shape for level in rois] == [(2, 5, 4), (2, 3, 4), (2, 1, 4)]
    assert torch.isfinite(joined(rois).boxes).all()


def some_rois() -> list[Rois]:
    """Two images; the second has no valid ROI."""
    boxes = torch.tensor([[[8.0, 16, 41, 49], [100, 90, 133, 131]], [[0, 0, 9, 9], [0, 0, 9, 9]]])
    valid = torch.tensor([[True, True], [False, False]])
    other = torch.tensor([[[50.0, 60, 301, 311]], [[0, 0, 9, 9]]])
    return [Rois(boxes, torch.rand(2, 2), valid), Rois(other, torch.rand(2, 1), torch.tensor([[False], [False]]))]


def test_the_merged_box_by_hand() -> None:
    cells = merged_cells(joined(some_rois()), 8, (56, 56))
    assert cells.tolist() == [[1, 2, 16, 16], [0, 0, 56, 56]]  # last pixels 132 and 130; no ROI: the whole map


def rois_at(boxes: list[list[float]], valid: list[bool]) -> list[Rois]:
    one = Rois(torch.tensor(boxes)[:, None], torch.rand(len(boxes), 1), torch.tensor(valid)[:, None])
    return [one, one, one]


@pytest.mark.parametrize("refine_at", ["input", "conv1", "conv2", "conv3"])
def test_the_zoom_equals_slicing_and_interpolating(apcnn: Callable[..., ApCnn], refine_at: str) -> None:
    """Eq. 7, image by image; an image without ROIs keeps its whole map."""
    method = apcnn(refine_at=refine_at)
    stride = {"input": 1, "conv1": 2, "conv2": 4, "conv3": 4}[refine_at]
    n = SIZE // stride
    source = torch.randn(3, 4, n, n, generator=torch.Generator().manual_seed(0))
    given = [[9.0, 17, 44, 62], [0, 0, 64, 64], [3, 3, 5, 4]]
    images = torch.zeros(3, 3, SIZE, SIZE)
    found, frame = method.refine(source, rois_at(given, [True, False, True]), images)
    for b, (x1, y1, x2, y2) in enumerate(given):
        u, v = int(x1 // stride), int(y1 // stride)
        u2, v2 = max(int((x2 - 1) // stride), u + 1), max(int((y2 - 1) // stride), v + 1)
        if b == 1:
            u, v, u2, v2 = 0, 0, n, n
        part = source[b : b + 1, :, v:v2, u:u2]
        expected = F.interpolate(part, (n, n), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found[b], expected, rtol=1e-4, atol=1e-4)
        assert frame[b].tolist() == [value * stride for value in (u, v, u2, v2)]


def test_zoom_off_shows_the_whole_image(apcnn: Callable[..., ApCnn]) -> None:
    source = torch.randn(2, 4, 16, 16)
    found, frame = apcnn(zoom=False).refine(
        source, rois_at([[9.0, 17, 44, 62]] * 2, [True] * 2), torch.zeros(2, 3, 64, 64)
    )
    assert torch.equal(found, source)
    assert frame.tolist() == [[0, 0, 64, 64]] * 2


@pytest.mark.parametrize("rescale", ["map", "crop"])
def test_dropblock_while_training_equals_eq_6_then_7(apcnn: Callable[..., ApCnn], rescale: str) -> None:
    method = apcnn(drop_rescale=rescale, drop_rates=(1, 0, 0)).train()
    source = torch.rand(1, 2, 16, 16) + 1
    small, wide = torch.tensor([[[9.0, 17, 30, 40]]]), torch.tensor([[[5.0, 9, 57, 61]]])
    levels = [Rois(box, torch.rand(1, 1), torch.ones(1, 1, dtype=torch.bool)) for box in (small, wide, wide)]
    found, _ = method.refine(source, levels, torch.zeros(1, 3, SIZE, SIZE))
    dropped = source.clone()
    dropped[:, :, 4:9, 2:7] = 0  # rows 17 // 4 to 39 // 4, columns 9 // 4 to 29 // 4
    total = 16 * 16 if rescale == "map" else 13 * 13  # rows 2..15, columns 1..14
    zoomed = dropped[:, :, 2:15, 1:14] * total / (total - 25)
    torch.testing.assert_close(found, F.interpolate(zoomed, (16, 16), mode="bilinear", align_corners=False))


def test_evaluation_drops_nothing_and_throws_no_dice(apcnn: Callable[..., ApCnn]) -> None:
    method = apcnn(drop_rates=(1, 0, 0))
    images = torch.randn(2, 3, SIZE, SIZE)
    before = torch.get_rng_state()
    first, second = method(images).logits, method(images).logits
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, apcnn(erase=False)(images).logits)


def test_erase_off_drops_nothing_while_training(apcnn: Callable[..., ApCnn]) -> None:
    method = apcnn(erase=False, zoom=True).train()
    source = torch.rand(1, 2, 16, 16) + 1
    given = rois_at([[0.0, 0, 64, 64]], [True])
    assert method.refine(source, given, torch.zeros(1, 3, SIZE, SIZE))[0].min() > 0
    erasing = apcnn(drop_rates=(1, 0, 0)).train()
    assert erasing.refine(source, given, torch.zeros(1, 3, SIZE, SIZE))[0].min() == 0


def test_the_dice_of_algorithm_1() -> None:
    """Levels by their rates, then the level's valid ROIs evenly, an invalid one never; each image on its own."""
    count = 30_000
    torch.manual_seed(0)
    fine = Rois(
        torch.arange(3.0)[None, :, None].expand(count, 3, 4),
        torch.rand(count, 3),
        torch.tensor([[True, False, True]]).expand(count, 3),
    )
    coarse = Rois(torch.full((count, 1, 4), 7.0), torch.rand(count, 1), torch.ones(count, 1, dtype=torch.bool))
    top = Rois(torch.full((count, 1, 4), 9.0), torch.rand(count, 1), torch.ones(count, 1, dtype=torch.bool))
    box, present = chosen_roi([fine, coarse, top], (0.3, 0.4, 0.0))
    share = {v: ((box[:, 0] == v) & present).float().mean().item() for v in (0, 1, 2, 7, 9)}
    assert share[0] == pytest.approx(0.15, abs=0.01)
    assert share[2] == pytest.approx(0.15, abs=0.01)
    assert share[7] == pytest.approx(0.4, abs=0.01)
    assert share[1] == share[9] == 0
    assert (~present).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_an_image_without_valid_rois_is_not_dropped() -> None:
    torch.manual_seed(0)
    _, present = chosen_roi(some_rois(), (1.0, 0.0))
    assert present.tolist() == [True, False]


def test_random_guidance_varies_while_training_and_sees_the_whole_image_in_evaluation(
    apcnn: Callable[..., ApCnn],
) -> None:
    method = apcnn(guidance="random", spatial_gate=False)
    for height, width in ((SIZE, SIZE), (50, 90)):  # the map's last cells reach over an edge of the second
        found = method(torch.randn(2, 3, height, width), evidence=True).evidence
        assert found is not None
        assert found.boxes["zoom"].xyxy[:, 0].tolist() == [[0, 0, width, height]] * 2
        assert not found.boxes["p3"].valid.any()
    sizes = [(16, 16), (8, 8), (4, 4)]
    torch.manual_seed(0)
    like = torch.zeros(2, 3, SIZE, SIZE)
    first, second = (random_rois(method.rois, sizes, (SIZE, SIZE), like, True) for _ in range(2))
    assert first[0].valid.any()
    assert not torch.equal(first[0].boxes, second[0].boxes)
    assert not torch.equal(first[0].boxes[0], first[0].boxes[1])


def test_no_gradient_passes_through_the_selection(apcnn: Callable[..., ApCnn]) -> None:
    """The gates learn from what they weight, not from where the refined stage looks."""
    method = apcnn()
    output = method(torch.randn(2, 3, SIZE, SIZE), evidence=True)
    assert output.evidence is not None
    assert not any(boxes.xyxy.requires_grad or boxes.scores.requires_grad for boxes in output.evidence.boxes.values())


def test_an_image_alone_and_in_a_batch_has_the_same_rois() -> None:
    pyramid, given = pyramid_of(), gates(5, (448, 448))
    together = joined(pyramid.of_gates(given, (448, 448)))
    for b in range(5):
        alone = joined(pyramid.of_gates([gate[b : b + 1] for gate in given], (448, 448)))
        assert torch.equal(alone.boxes[0], together.boxes[b])
        assert torch.equal(alone.valid[0], together.valid[b])
