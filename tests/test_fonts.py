"""Texts get fonts that have their characters, or one note that says what to install. No font needs to be installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, ft2font
from matplotlib.text import Text
from PIL import Image

from fgvc_cli import figures, fonts
from fgvc_cli.viz import pixels
from fgvc_cli.viz.sheet import Key, Panel, Row, Sheet, Strip, Words

SPARROW, BIRD, CUCKOO = "麻雀", "นก", "कोयल"
Install = Callable[..., None]


def build(path: Path, family: str, letters: str) -> str:
    """A font in which every letter is the same triangle."""
    pen = TTGlyphPen(None)
    for number, point in enumerate(((50, 0), (450, 700), (850, 0))):
        pen.lineTo(point) if number else pen.moveTo(point)
    pen.closePath()
    glyph = pen.glyph()
    names = {letter: f"uni{ord(letter):04X}" for letter in letters}
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(letter): name for letter, name in names.items()})
    builder.setupGlyf(dict.fromkeys((".notdef", *names.values()), glyph))
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *names.values()), (900, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Install]:
    """A machine with the fonts of matplotlib alone; call it to install fonts, each given as FAMILY=LETTERS."""
    caches = (fonts.families, fonts._default, fonts._installed)
    own = Path(font_manager.__file__).parent
    listed = [entry for entry in font_manager.fontManager.ttflist if own in Path(entry.fname).parents]
    installed: list[str] = []
    monkeypatch.setattr(font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    monkeypatch.setattr(fonts, "_noted", set())

    def forget() -> None:
        for kept in caches:
            kept.cache_clear()

    def install(**letters: str) -> None:
        installed.extend(build(tmp_path / f"{family}.ttf", family, them) for family, them in letters.items())

    forget()
    yield install
    forget()


def test_a_text_that_the_default_font_has_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: pytest.fail("no other font is looked at"))
    assert fonts.families("Wróbel, Ünal, Ørn, 3 ✓ …") == ("DejaVu Sans",)
    assert fonts.families("a\nb\tc\u200d\ufe0f\u00a0") == ("DejaVu Sans",)  # nothing in it needs a glyph
    assert fonts.families("") == ("DejaVu Sans",)


def test_installed_fonts_fill_in(machine: Install, capsys: pytest.CaptureFixture[str]) -> None:
    machine(Han=SPARROW + "鷹", Thai=BIRD, Devanagari=CUCKOO)
    assert fonts.families(f"sparrow {SPARROW}") == ("DejaVu Sans", "Han")
    assert fonts.families(BIRD) == ("DejaVu Sans", "Thai")
    assert set(fonts.families(f"{SPARROW} {BIRD} {CUCKOO}")) == {"DejaVu Sans", "Han", "Thai", "Devanagari"}
    assert capsys.readouterr().err == ""


def test_as_few_fonts_as_it_takes_and_rather_one_without_serifs(machine: Install) -> None:
    machine(One="麻", Two="雀", BothSerif=SPARROW + BIRD, BothSans=SPARROW)
    assert fonts.families(SPARROW) == ("DejaVu Sans", "BothSans")


@pytest.mark.parametrize(
    ("text", "package"),
    [(SPARROW, "fonts-noto-cjk"), ("참새", "fonts-noto-cjk"), ("すずめ", "fonts-noto-cjk"), (BIRD, "fonts-noto-core")],
)
def test_without_a_font_one_note_names_the_package(text: str, package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fonts.families(text) == ("DejaVu Sans",)  # not the font of placeholders, which has every character
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert f"apt-get install {package}`" in note
    assert text[0] in note
    fonts.families(text[0])
    assert capsys.readouterr().err == ""


def test_a_damaged_font_is_passed_over(machine: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(Han=SPARROW)
    damaged = tmp_path / "damaged.ttf"
    damaged.write_bytes(b"no font")
    found = [str(damaged), str(tmp_path / "gone.ttf"), str(tmp_path / "Han.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: found)
    assert fonts.families(SPARROW) == ("DejaVu Sans", "Han")


def test_a_plot_and_its_ticks(machine: Install, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """As in the confusion matrix and the embedding."""
    machine(Han=SPARROW)
    figure = figures.new_figure(2, 2)
    axes = figure.add_subplot()
    axes.set_xticks([0, 1], [SPARROW, "robin"], rotation=90)
    axes.set_title(SPARROW)
    (line,) = axes.plot([0, 1], label=SPARROW)
    figures.add_legend(axes, [line])
    figures.save_figure(tmp_path / "a.png", figure)
    texts = [text for text in figure.findobj(Text) if text.get_text() == SPARROW]
    assert len(texts) == 4  # a tick has two
    assert all(text.get_fontfamily() == ["DejaVu Sans", "Han"] for text in texts)
    assert not recwarn.list


def drawn(path: Path, strip: Strip) -> np.ndarray:
    Sheet([strip], 80).write(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_a_sheet_of_pictures(machine: Install, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Its headings, titles, notes and keys: with the font other pixels than without it."""
    panel = Panel(np.full((40, 200, 3), 255, np.uint8), SPARROW, SPARROW)
    strip = Strip((Row((panel,)),), (Words(SPARROW, bold=True),), (), (Key((200, 0, 0), SPARROW),))
    before = drawn(tmp_path / "before.png", strip)
    fonts.families.cache_clear()
    fonts._installed.cache_clear()
    machine(Han=SPARROW)
    after = drawn(tmp_path / "after.png", strip)
    for top in (10, 31, 86, 101):  # heading, title, note, key
        assert (before[top : top + 15] != after[top : top + 15]).any()
    assert not recwarn.list


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    strip = Strip((Row((Panel(np.zeros((40, 90, 3), np.uint8)),)),), (Words("a\udcffb"),))
    expected = Strip((Row((Panel(np.zeros((40, 90, 3), np.uint8)),)),), (Words("a?b"),))
    assert (drawn(tmp_path / "a.png", strip) == drawn(tmp_path / "b.png", expected)).all()


def test_texts_on_pixels(machine: Install) -> None:
    machine(Han=SPARROW)
    picture = np.full((40, 120, 3), 255, np.uint8)
    pixels.write(picture, [(SPARROW, 60, 20)], 14, (0, 0, 0))
    inked = np.argwhere(picture.min(2) < 128)
    assert inked[:, 0].max() - inked[:, 0].min() == pytest.approx(13, abs=2)  # the triangles are as high as capitals
    assert inked.mean(0).tolist() == pytest.approx([22, 60], abs=2)
    assert ft2font.FT2Font(fonts.font_file(SPARROW)).family_name == "Han"
