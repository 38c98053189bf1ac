"""The PNG has the panels it should, where it should, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.viz.colours import GREEN, RED
from fgvc_cli.viz.sheet import Key, Panel, Plot, Row, Sheet, Strip, Words, short

DPI = 80
MARGIN, GAP, BETWEEN, LINE, HEADING = 10, 6, 24, 15, 21  # pixels at 80 dpi


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 255, (height, width, 3)).astype(np.uint8)


def png(sheet: Sheet, path: Path) -> np.ndarray:
    sheet.write(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_panels_come_out_as_they_are(tmp_path: Path) -> None:
    first, second = noise(50, 40), noise(50, 70, 1)
    strip = Strip((Row((Panel(first), Panel(second))),))
    drawn = png(Sheet([strip], DPI), tmp_path / "a.png")
    assert drawn.shape == (2 * MARGIN + 50, 2 * MARGIN + 40 + GAP + 70, 3)
    assert (drawn[MARGIN : MARGIN + 50, MARGIN : MARGIN + 40] == first).all()
    left = MARGIN + 40 + GAP
    assert (drawn[MARGIN : MARGIN + 50, left : left + 70] == second).all()
    drawn = drawn.copy()
    drawn[MARGIN : MARGIN + 50, MARGIN : MARGIN + 40] = 255
    drawn[MARGIN : MARGIN + 50, left : left + 70] = 255
    assert (drawn == 255).all()  # and nothing else


def test_words_take_their_lines_and_never_touch_a_panel(tmp_path: Path) -> None:
    panel = noise(60, 170)
    row = Row((Panel(panel, "a title", "a note\nof two lines"),), label="a row")
    keys = (Key(RED, "red ones"), Key(GREEN, "green ones", dashed=True))
    strip = Strip((row,), (Words("Wren $x_1$", bold=True), Words(" (0.93)")), (Words("bird.jpg"),), keys)
    sheet = Sheet([strip], DPI)
    drawn = png(sheet, tmp_path / "a.png")
    top = MARGIN + HEADING + LINE + LINE + LINE
    assert sheet.size[0] == top + 60 + 2 * LINE + LINE + MARGIN  # two lines of notes, one of keys
    assert (drawn[top : top + 60, MARGIN : MARGIN + 170] == panel).all()
    for line in (MARGIN, MARGIN + HEADING, MARGIN + HEADING + LINE, top - LINE, top + 60, top + 60 + LINE):
        assert (drawn[line : line + LINE] < 128).any()  # each line has its words


def test_long_words_are_cut_where_their_place_ends(tmp_path: Path) -> None:
    strip = Strip((Row((Panel(noise(40, 170), "t" * 90),)),), (Words("A very long name of a class " * 5),))
    drawn = png(Sheet([strip], DPI), tmp_path / "a.png")
    assert drawn.shape[1] == 170 + 2 * MARGIN
    drawn = drawn[: MARGIN + HEADING + LINE]
    assert (drawn < 128).any()
    assert (drawn[:, : MARGIN - 2] == 255).all()
    assert (drawn[:, MARGIN + 172 :] == 255).all()


def test_strips_in_columns(tmp_path: Path) -> None:
    panels = [noise(30 + 10 * number, 40 + 5 * number, number) for number in range(3)]
    sheet = Sheet([Strip((Row((Panel(panel),)),)) for panel in panels], DPI, columns=2)
    drawn = png(sheet, tmp_path / "a.png")
    assert drawn.shape[:2] == (2 * MARGIN + 40 + BETWEEN + 50, 2 * MARGIN + 50 + BETWEEN + 45)
    below = MARGIN + 40 + BETWEEN
    assert (drawn[MARGIN : MARGIN + 40, MARGIN + 50 + BETWEEN :][:, :45] == panels[1]).all()
    assert (drawn[below : below + 50, MARGIN : MARGIN + 50] == panels[2]).all()


def test_what_colours_mean_is_said_once_on_a_page(tmp_path: Path) -> None:
    def strips(*keys: tuple[Key, ...]) -> list[Strip]:
        return [Strip((Row((Panel(noise(30, 200)),)),), keys=one) for one in keys]

    red, green = Key(RED, "red ones"), Key(GREEN, "green ones")
    alone, once = Sheet(strips(()), DPI).size[0], Sheet(strips((red,), (red, green)), DPI).size[0]
    assert once == 2 * alone - 2 * MARGIN + BETWEEN + GAP + LINE
    assert (png(Sheet(strips((red,), (red, green)), DPI), tmp_path / "a.png")[-MARGIN - LINE : -MARGIN] < 90).any()
    many = [Key((number, 0, 0), f"class {number}") for number in range(20)]
    assert Sheet(strips(*((key,) for key in many)), DPI).size[0] > 20 * (30 + LINE)


def test_a_plot_has_its_place(tmp_path: Path) -> None:
    def fill(axes) -> None:
        axes.set_facecolor("#ff0000")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)

    strip = Strip((Row((Panel(noise(50, 20)), Plot(fill, (50, 60), inset=(0.25, 0.125, 0, 0)))),))
    drawn = png(Sheet([strip], DPI), tmp_path / "a.png")
    red = np.argwhere((drawn == (255, 0, 0)).all(2))
    left = MARGIN + 20 + GAP
    assert red.min(0).tolist() == [MARGIN, left + 20]
    assert red.max(0).tolist() == [MARGIN + 50 - 10 - 1, left + 60 - 1]


def test_more_dots_make_larger_words_not_other_panels(tmp_path: Path) -> None:
    panel = noise(100, 100)
    strip = Strip((Row((Panel(panel, "title"),)),))
    drawn = png(Sheet([strip], 160), tmp_path / "a.png")
    top = round(0.12 * 160) + round(0.19 * 160)
    assert (drawn[top : top + 100, 19:119] == panel).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1e-9, "0"), (0.0012, "0.0012"), (0.123, "0.12"), (-0.5, "-0.50"), (12.6, "13")]
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text
