"""Evidence made by hand is drawn where it must be, in the colours it must have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fgvc_cli.methods.base import Evidence, Grid, Head, Maps
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.viz.colours import BLUE, GREEN, RED, SETS, WHITE, YELLOW
from fgvc_cli.viz.kinds.channels import channels
from fgvc_cli.viz.kinds.grids import grid, sequence
from fgvc_cli.viz.kinds.heat import attention, cam, map_rows, versus
from fgvc_cli.viz.kinds.regions import parts, relations, rois
from fgvc_cli.viz.kinds.table import kinds_of
from fgvc_cli.viz.pixels import Pixels
from fgvc_cli.viz.sheet import Panel, Plot, Strip
from tests.viz.synthetic import GREY, boxes, picture, scene, whole

# Input pixel x of 32 lies at (x + 4) / 40 of the picture's 61 columns; ten times as large at (x + 4) * 15.25.
X, Y = 610 / 40, 370 / 40


def drawn_at(x1: float, y1: float, x2: float, y2: float) -> tuple[int, int, int, int]:
    return round((x1 + 4) * X), round((y1 + 4) * Y), round((x2 + 4) * X), round((y2 + 4) * Y)


def extent(pixels: Pixels, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box around all pixels of one colour, half-open."""
    rows, columns = np.nonzero((pixels == colour).all(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def panels(strip: Strip) -> list[Panel]:
    return [panel for row in strip.rows for panel in row.panels if isinstance(panel, Panel)]


def pyramid() -> Evidence:
    return Evidence(
        boxes={
            "p3": boxes((2, 2, 6, 6), (20, 20, 24, 24), kind="roi"),
            "p4": boxes((8, 8, 16, 16), kind="roi"),
            "p5": boxes((10, 4, 25, 20), kind="roi"),
            "zoom": boxes((2, 2, 27, 24), kind="merged"),
        }
    )


def test_a_pyramid_in_the_papers_colours_at_known_places() -> None:
    strip = rois(scene(pyramid()))
    (panel,) = panels(strip)
    assert panel.pixels.shape == (370, 610, 3)
    assert extent(panel.pixels, RED) == drawn_at(10, 4, 25, 20)
    assert extent(panel.pixels, BLUE) == drawn_at(8, 8, 16, 16)
    assert extent(panel.pixels, GREEN) == (*drawn_at(2, 2, 6, 6)[:2], *drawn_at(20, 20, 24, 24)[2:])
    assert extent(panel.pixels, YELLOW)[2:] == drawn_at(2, 2, 27, 24)[2:]
    names = [(key.text, key.colour) for key in strip.keys]
    assert names == [
        ("low level (p3)", GREEN),
        ("middle level (p4)", BLUE),
        ("high level (p5)", RED),
        ("merged (zoom)", YELLOW),
    ]
    first = strip.facts["boxes"]["p3"][0]
    assert first["box"] == pytest.approx([6 / 40 * 61, 6 / 40 * 37, 10 / 40 * 61, 10 / 40 * 37], abs=0.01)
    assert first["score"] == pytest.approx(0.9)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 301), (303, 5), (64, 64), (333, 217)])
@pytest.mark.parametrize("resize", [32, 47])
def test_boxes_of_any_size_of_image(height: int, width: int, resize: int) -> None:
    """The whole input is the middle resize-th of the picture, whatever its shape."""
    spec = DataSpec(image_size=32, resize=resize)
    evidence = Evidence(boxes={"ran": boxes((0, 0, 32, 32), (8, 16, 24, 30))})
    strip = rois(scene(evidence, side=200, original=picture(height, width), spec=spec))
    lost = round((resize - 32) / 2)
    for found, box in zip(strip.facts["boxes"]["ran"], ((0, 0, 32, 32), (8, 16, 24, 30)), strict=True):
        sides = np.array([width, height, width, height])
        assert found["box"] == pytest.approx((np.array(box) + lost) / resize * sides, abs=0.01)
    drawn = panels(strip)[0].pixels
    assert 200 <= max(drawn.shape[:2]) <= 290
    assert min(drawn.shape[:2]) >= 40


def test_boxes_that_are_not_valid_are_not_there() -> None:
    sets = {"p3": boxes((2, 2, 6, 6), kind="roi", valid=False), "p4": boxes((8, 8, 16, 16), kind="roi")}
    strip = rois(scene(Evidence(boxes=sets)))
    assert strip.facts["boxes"]["p3"] == []
    assert len(strip.keys) == 2
    assert not (panels(strip)[0].pixels == GREEN).all(2).any()


def test_the_true_box_is_dashed_and_white() -> None:
    strip = rois(scene(pyramid(), box=(10, 5, 50, 30), truth=True))
    assert extent(panels(strip)[0].pixels, WHITE) == (100, 50, 500, 300)
    assert strip.keys[-1].dashed
    without = rois(scene(pyramid(), box=(10, 5, 50, 30)))
    assert not (panels(without)[0].pixels == WHITE).all(2).any()


def heads(weight: torch.Tensor | None = None) -> dict[str, Head]:
    """Channel 1 fires in the cell of row 2, column 1 of 4 x 4, channel 2 in row 0, column 3."""
    features = torch.zeros(1, 3, 4, 4)
    features[0, 1, 2, 1] = 1
    features[0, 2, 0, 3] = 1
    return {"final": Head(features, torch.eye(3) if weight is None else weight, whole())}


def hottest(pixels: Pixels) -> tuple[float, float]:
    """x, y of where the heat is."""
    red = pixels[..., 0].astype(float)
    rows, columns = np.nonzero(red >= red.max() - 1)
    return float(columns.mean()), float(rows.mean())


def test_cam_its_box_and_what_is_in_it() -> None:
    original = picture()
    original[:, :, :30] = 40  # the left half is dark
    strip = cam(scene(Evidence(heads=heads()), original=original, alpha=1.0))
    image, heat, crop = panels(strip)
    assert (image.pixels[100, 100] == 40).all()
    assert strip.facts["map"] == "CAM"
    assert strip.facts["class"] == "finch"
    assert heat.title == "CAM of final"
    x1, y1, x2, y2 = strip.facts["box"]
    centre = (12 + 4) / 40 * 61, (20 + 4) / 40 * 37  # of the cell: column 1, row 2 of cells of 8 input pixels
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx(centre, abs=0.4)
    assert extent(heat.pixels, YELLOW) == tuple(round(value * 10) for value in (x1, y1, x2, y2))
    assert (crop.pixels == 40).mean() > 0.4
    hot = heat.pixels.copy()
    hot[(heat.pixels == YELLOW).all(2)] = 0
    assert hottest(hot) == pytest.approx((centre[0] * 10, centre[1] * 10), abs=12)


def test_cam_of_a_class_that_is_asked_for() -> None:
    strip = cam(scene(Evidence(heads=heads()), label=2))
    x1, y1, x2, y2 = strip.facts["box"]
    assert strip.facts["class"] == "wren"
    assert ((x1 + x2) / 2 / 61, (y1 + y2) / 2 / 37) == pytest.approx((32 / 40, 8 / 40), abs=0.05)


def test_the_box_of_a_map_that_covers_a_part_of_the_image() -> None:
    """Over (8, 8, 24, 24) a cell is 4 input pixels wide: row 2, column 1 has its centre at (14, 18)."""
    head = heads()["final"]
    part = Head(head.map, head.weight, torch.tensor([[8.0, 8, 24, 24]]))
    x1, y1, x2, y2 = cam(scene(Evidence(heads={"final": part}))).facts["box"]
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((18 / 40 * 61, 22 / 40 * 37), abs=0.3)
    assert x2 - x1 == pytest.approx(4 / 40 * 61, rel=0.3)


SILENT = {
    "all below zero": -torch.rand(1, 3, 4, 4),
    "all zero": torch.zeros(1, 3, 4, 4),
    "all equal": torch.full((1, 3, 4, 4), 0.7),
    "one cell": torch.ones(1, 3, 1, 1),
    "not a number": torch.full((1, 3, 4, 4), torch.nan),
    "one not a number": torch.rand(1, 3, 4, 4).index_fill(3, torch.tensor(2), torch.nan),
    "infinite": torch.rand(1, 3, 4, 4).index_fill(3, torch.tensor(2), torch.inf),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", SILENT)
def test_a_map_that_says_nothing_has_no_box(what: str) -> None:
    shown = scene(Evidence(heads={"final": Head(SILENT[what], torch.eye(3), whole())}), label=2)
    strip = cam(shown)
    assert strip.facts["box"] is None
    _, heat = panels(strip)
    assert heat.note == "nothing here speaks for wren"
    assert not (heat.pixels == YELLOW).all(2).any()
    of_wren = panels(versus(shown))[2]
    assert of_wren.note.endswith("nothing here speaks for wren")
    assert len(panels(grid(shown))) == 2
    assert panels(grid(shown))[1].note == "nothing here speaks for wren"
    maps = {"master": Maps("cam", SILENT[what][:, 2:], whole(), torch.tensor([[2]])), "sub": Maps("cam", *MAP)}
    assert [panel.note for panel in panels(attention(scene(Evidence(maps=maps))))][1:] == [heat.note, ""]


MAP = torch.eye(4)[None, None], whole()


def test_a_map_that_says_little_has_its_box() -> None:
    """However small its values are, the box is that of those above half the largest."""
    features = heads()["final"].map
    expected = cam(scene(Evidence(heads=heads()))).facts["box"]
    for scale in (1e-7, 1e-30, 1e30):
        faint = {"final": Head(scale * features, torch.eye(3), whole())}
        assert cam(scene(Evidence(heads=faint))).facts["box"] == expected


def test_a_silent_map_leaves_the_methods_own_region() -> None:
    silent = {"final": Head(-torch.ones(1, 3, 4, 4), torch.eye(3), whole())}
    strip = cam(scene(Evidence(heads=silent, boxes={"ran": boxes((4, 4, 20, 28))}), label=2))
    assert strip.facts["box"] is not None
    assert [panel.note for panel in panels(strip)] == ["", "nothing here speaks for wren", "region of the method: ran"]


def test_cam_shows_the_methods_own_region() -> None:
    strip = cam(scene(Evidence(heads=heads(), boxes={"ran": boxes((4, 4, 20, 28))})))
    assert strip.facts["box"] == pytest.approx([8 / 40 * 61, 8 / 40 * 37, 24 / 40 * 61, 32 / 40 * 37], abs=0.01)
    assert panels(strip)[2].note == "region of the method: ran"


def test_grad_cam_says_so() -> None:
    head = heads()["final"]
    features = head.map.clone().requires_grad_()
    shown = scene(Evidence(heads={"final": Head(features, None, whole())}))
    logits = features.mean((2, 3))
    shown.looked.seen.output.branches["final"] = logits
    strip = cam(shown)
    assert strip.facts["map"] == "Grad-CAM"
    assert panels(strip)[1].title == "Grad-CAM of final"


def test_versus_has_one_colour_a_side() -> None:
    """By default the two likeliest: finch (row 2, column 1) rather than wren (row 0, column 3)."""
    strip = versus(scene(Evidence(heads=heads())))
    assert (strip.facts["class"], strip.facts["against"]) == ("finch", "wren")
    contrast = panels(strip)[1].pixels.astype(int)
    mine = contrast[round(24 * Y), round(16 * X)]
    theirs = contrast[round(8 * Y), round(32 * X)]
    assert mine[0] > mine[2] + 50
    assert theirs[2] > theirs[0] + 50
    assert contrast[round(24 * Y), round(32 * X)].tolist() == [GREY] * 3
    turned = versus(scene(Evidence(heads=heads()), label=2, against=1))
    swapped = panels(turned)[1].pixels.astype(int)
    assert swapped[round(24 * Y), round(16 * X)][2] > swapped[round(24 * Y), round(16 * X)][0] + 50
    assert panels(strip)[2].note == "probability 0.67"


def test_a_map_of_a_part_of_the_image_leaves_the_rest_pale() -> None:
    frame = torch.tensor([[8.0, 8, 24, 24]])
    strip = attention(scene(Evidence(maps={"refined_p3": Maps("gate", torch.ones(1, 1, 2, 2), frame)})))
    drawn = panels(strip)[1].pixels
    x1, y1, x2, y2 = drawn_at(8, 8, 24, 24)
    outside = np.ones(drawn.shape[:2], bool)
    outside[y1:y2, x1:x2] = False
    assert (drawn[outside].min(1) > 180).mean() > 0.99
    assert (drawn[~outside].min(1) < 180).all()
    assert panels(strip)[1].note == "1.00 to 1.00"


def test_maps_in_rows() -> None:
    def maps(kind: str, *names: str) -> dict[str, Maps]:
        return {name: Maps(kind, torch.ones(1, 1, 2, 2), whole()) for name in names}

    gates = maps("gate", "raw_p3", "raw_p4", "refined_p3", "refined_p4") | maps("channels", "raw_p3_channels")
    assert map_rows(Evidence(maps=gates)) == [["raw_p3", "raw_p4"], ["refined_p3", "refined_p4"]]
    clan = maps("cam", "global", "part", "clsa") | maps("attention", "attention_part")
    assert map_rows(Evidence(maps=clan)) == [["global", "part", "clsa"], ["attention_part"]]
    assert map_rows(Evidence(maps=maps("cam", "ran", "psn_global"))) == [["ran", "psn_global"]]
    assert [len(row) for row in map_rows(Evidence(maps=maps("cam", *"abcdefg")))] == [5, 2]


def test_grid_of_kept_cells() -> None:
    keep = torch.tensor([[[0.9, 0.2], [0.1, 0.4]]])
    grids = {"keep": Grid("keep", keep, whole()), "mask": Grid("mask", (keep > 0.5).float(), whole())}
    strip = grid(scene(Evidence(heads=heads(), grids=grids)))
    *_, scores, mask = panels(strip)
    assert mask.note == "1 of 4 cells kept"
    kept, dropped = mask.pixels[round(10 * Y), round(10 * X)], mask.pixels[round(30 * Y), round(30 * X)]
    assert kept.tolist() == [GREY] * 3
    assert dropped.min() > 180
    bright = [scores.pixels[round(y * Y), round(x * X)].sum() for x, y in ((6, 6), (34, 6), (6, 34))]
    assert bright[0] > bright[1] > bright[2]
    assert strip.facts["cells"]["keep"][0] == pytest.approx([0.9, 0.2])
    assert [panel.title for panel in panels(strip)] == ["image", "CAM of final", "keep", "mask"]


def test_sequence_in_two_colours_and_bars() -> None:
    values = torch.tensor([[[2.0, -1.0], [0.0, 0.5]]])
    strip = sequence(scene(Evidence(grids={"sequence": Grid("contribution", values, whole())})))
    drawn = panels(strip)[1].pixels.astype(int)
    first, second = drawn[round(12 * Y), round(12 * X)], drawn[round(12 * Y), round(28 * X)]
    assert first[0] > first[2] + 50
    assert second[2] > second[0] + 20
    assert drawn[round(28 * Y), round(12 * X)].tolist() == [GREY] * 3
    assert len([panel for panel in strip.rows[0].panels if isinstance(panel, Plot)]) == 2
    assert strip.facts["adds"]["sequence"] == [[2.0, -1.0], [0.0, 0.5]]


def test_parts_are_what_is_in_the_boxes() -> None:
    original = picture()
    original[:, :, :31] = 0
    original[0, :, 31:] = 255
    sets = {"scale1": boxes((0, 0, 8, 8), (20, 0, 28, 8), kind="part"), "scale2": boxes((18, 0, 30, 32), kind="part")}
    strip = parts(scene(Evidence(boxes=sets), original=original))
    marked, small, large = panels(strip)
    assert (small.title, large.title) == ("scale1", "scale2")
    assert extent(marked.pixels, SETS[1])[2:] == drawn_at(18, 0, 30, 32)[2:]
    tiles = small.pixels[:, small.pixels.shape[1] // 2]
    assert (tiles == 0).all(1).sum() > 100  # the first part is dark, the second red
    assert ((tiles[:, 0] == 255) & (tiles[:, 1] < 200)).sum() > 100
    assert (large.pixels[large.pixels.shape[0] // 2, large.pixels.shape[1] // 2] == (255, GREY, GREY)).all()
    assert small.note == "0.90  0.50"


def test_relations_read_from_the_part_that_takes() -> None:
    weights = torch.tensor([[[0.9, 0.3], [0.1, 0.7]]])  # [m, n]: what part n takes of part m
    sets = {"scale1": boxes((0, 0, 8, 8), (20, 0, 28, 8), kind="part")}
    strip = relations(scene(Evidence(boxes=sets, relations={"head1": weights, "head2": weights})))
    assert strip.facts["relations"]["head1"][1] == pytest.approx([0.3, 0.7])
    assert [len(row.panels) for row in strip.rows] == [2, 2]
    one = relations(scene(Evidence(boxes=sets, relations={"head1": weights})))
    assert len(one.rows) == 1


def test_a_classs_channels_and_those_they_attend() -> None:
    """3 classes of 2 high-level and 4 middle-level channels: of finch these are 2, 3 and 4 to 7."""
    high = Maps("channels", torch.rand(1, 6, 2, 2), whole(), torch.arange(6) // 2)
    middle = Maps("channels", torch.rand(1, 12, 4, 4), whole(), torch.arange(12) // 4)
    strip = channels(scene(Evidence(maps={"high": high, "middle": middle})))
    titles = [[panel.title for panel in row.panels] for row in strip.rows]
    assert titles == [["image", "high 2", "middle 4", "middle 5"], ["", "high 3", "middle 6", "middle 7"]]
    _, first, second, _ = strip.rows[0].panels
    assert isinstance(first, Panel)
    assert isinstance(second, Panel)
    assert (first.pixels[0] == RED).all()
    assert (second.pixels[:, -1] == GREEN).all()
    asked = channels(scene(Evidence(maps={"high": high}), label=0))
    assert [panel.title for panel in panels(asked)] == ["image", "high 0", "high 1"]
    assert asked.facts == {"class": "crow", "channels": {"high": [0, 1]}}


def test_what_can_be_drawn_of_what() -> None:
    assert kinds_of(Evidence()) == []
    assert kinds_of(pyramid()) == ["rois", "parts"]
    assert kinds_of(Evidence(heads=heads())) == ["cam", "versus"]
    gate = Evidence(maps={"raw": Maps("gate", torch.ones(1, 1, 2, 2), whole())})
    assert kinds_of(gate) == ["attention"]
    channel_gate = Evidence(maps={"raw": Maps("channels", torch.ones(1, 4, 1, 1), whole())})
    assert kinds_of(channel_gate) == []
