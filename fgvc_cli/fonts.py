"""Fonts for texts in any script: matplotlib's own, then installed fonts that have the characters it lacks."""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgvc_cli.terminal import Console

_PLACEHOLDERS = "Last Resort"  # a font whose glyphs are boxes; it has every character
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")  # first words of Unicode names
_SHOWN = 5  # characters that a note lists
_noted: set[str] = set()  # packages, each named once by a process


class Font(NamedTuple):
    """An installed font family and the characters that it has."""

    family: str
    file: str
    points: NDArray[np.int32]  # code points, ascending

    def covered(self, characters: Set[str]) -> set[str]:
        """Those of the characters that the font has."""
        codes = np.array(sorted(map(ord, characters)), np.int32)
        places = np.searchsorted(self.points, codes).clip(max=len(self.points) - 1)
        return set(map(chr, codes[self.points[places] == codes].tolist()))


@cache
def families(text: str) -> tuple[str, ...]:
    """The font families that draw a text: matplotlib's default, then as few installed ones as it takes.

    For characters that no installed font has, a note on stderr names the package to install, once a process and
    package; they are drawn as boxes.
    """
    default = _default()
    missing = _visible(text) - default.covered(_visible(text))
    chosen = [default.family]
    while missing:
        best = max(_installed(), key=lambda font: (len(font.covered(missing)), "Sans" in font.family, len(font.points)))
        found = best.covered(missing)
        if not found:
            _note(missing)
            break
        chosen.append(best.family)
        missing -= found
    return tuple(chosen)


def font_file(text: str) -> str:
    """The file of one font for a whole text, for drawing without matplotlib: the one that has most of it."""
    wanted, chosen = _visible(text), families(text)
    fonts = [_default(), *(font for font in (_installed() if len(chosen) > 1 else ()) if font.family in chosen)]
    return max(fonts, key=lambda font: len(font.covered(wanted))).file


@contextmanager
def drawing() -> Iterator[None]:
    """Silence what matplotlib says about each text: a character drawn as a box, which `families` has noted; a font
    without the wanted weight, which is drawn in the weight that it has.
    """
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            yield
    finally:
        log.setLevel(level)


def _visible(text: str) -> set[str]:
    """The characters that need a glyph: not spaces, controls, joiners, variation selectors, undecodable bytes."""
    return {
        character
        for character in text
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
        and not "\ufe00" <= character <= "\ufe0f"
    }


@cache
def _default() -> Font:
    from matplotlib import font_manager

    file = font_manager.findfont(font_manager.FontProperties())
    return Font(font_manager.get_font(file).family_name, str(file), _points(file))


@cache
def _installed() -> tuple[Font, ...]:
    """The installed families, by name. Fonts installed since matplotlib last made its list are added to that."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for file in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            manager.addfont(file)
        except Exception as error:  # bitmap fonts, damaged files; FreeType and matplotlib have their own error types
            logging.getLogger(__name__).debug("font %s is not used: %s", file, error)
    upright = [entry for entry in manager.ttflist if entry.style == "normal" and _PLACEHOLDERS not in entry.name]
    files = {entry.name: entry.fname for entry in sorted(upright, key=lambda e: -abs(int(e.weight) - 400))}
    fonts = (Font(family, files[family], _points(files[family])) for family in sorted(files))
    return tuple(font for font in fonts if len(font.points))


def _points(file: str) -> NDArray[np.int32]:
    from matplotlib import font_manager

    try:
        return np.array(sorted(font_manager.get_font(file).get_charmap()), np.int32)
    except (OSError, RuntimeError):  # removed or damaged since matplotlib made its list
        return np.empty(0, np.int32)


def _note(missing: Set[str]) -> None:
    packages = {_package(character) for character in missing} - _noted
    if not packages:
        return
    _noted.update(packages)
    shown = sorted(missing)[:_SHOWN]
    more = f" and {len(missing) - len(shown)} more" if len(missing) > len(shown) else ""
    Console(stderr=True).print(
        f"note: no installed font has {' '.join(shown)}{more}: pictures show boxes instead; on Debian and Ubuntu "
        f"`apt-get install {' '.join(sorted(packages))}` installs one",
        style="yellow",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _package(character: str) -> str:
    """The Debian package of a font that has the character."""
    if unicodedata.name(character, "").startswith(_EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(character) == "So" else "fonts-noto-core"
