from __future__ import annotations

import unicodedata

import pytest

from fgvc_cli.data.alike import Alike, difference, folded, look, tidy

NFC, NFD = (unicodedata.normalize(form, "Zaunkönig") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "other", [NFD, f" {NFC} ", "Zaun\u200bkönig", f"{NFC}\ufeff", "Zaunko\u0308nig", "Zaun\u00adkönig"]
)
def test_names_that_look_the_same(other: str) -> None:
    assert other != NFC
    assert look(other) == look(NFC)
    assert tidy(other) == NFC


@pytest.mark.parametrize(("one", "other"), [("robin", "ROBIN"), ("ﬁnch", "finch"), ("Straße", "STRASSE"), ("Ａ", "a")])
def test_names_that_are_alike(one: str, other: str) -> None:
    assert look(one) != look(other)
    assert folded(one) == folded(other)


def test_blanks() -> None:
    assert look("house\u00a0 wren") == look("house wren") != look("housewren")
    assert tidy(" ") == " "  # else the class would have no name
    assert tidy("\u200b") == "\u200b"


def test_joiners_are_kept_where_they_are_spelling() -> None:
    farsi = "می\u200cروم"
    assert tidy(farsi) == farsi
    assert look(farsi) == look(farsi.replace("\u200c", ""))


def test_find() -> None:
    names = Alike(["A", "a", NFC, "b.JPG", "c", "C"])
    assert names.find("a") == "a"
    assert names.find(NFD) == NFC
    assert names.find("B.jpg") == "b.JPG"
    assert names.find("Ａ") is None  # A or a?
    assert names.find("d") is None
    assert "'A' (U+FF21 against U+0041)" in names.hint("Ａ")
    assert names.hint("d") == ""


def test_differences_are_shown() -> None:
    assert difference(NFC, NFD) == "U+00F6 against U+006F U+0308"
    assert difference("robin", "robin\u200b") == "nothing against U+200B"
    assert difference("Robin", "robin") == "only upper and lower case differ"
