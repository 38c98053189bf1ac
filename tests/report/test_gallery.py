from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fgvc_cli.inference.look import look
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.report.gallery import Answer, choose, make_gallery
from fgvc_cli.report.record import Record
from tests.report.conftest import QUIET


def answers(right: int, wrong: int) -> list[Answer]:
    """Right ones named r0, r1 …, wrong ones w0 … of which the later are surer."""

    def answer(kind: str, place: int) -> Answer:
        picture = Picture(f"{kind}{place}", Path(), 0)
        return Answer(picture, 0, int(kind == "w"), place / 1000)

    return [answer("r", place) for place in range(right)] + [answer("w", place) for place in range(wrong)]


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        (9, 9, "w8 w7 r0 r8"),
        (9, 1, "w0 r0 r4 r8"),
        (1, 9, "w8 w7 w6 r0"),
        (0, 2, "w1 w0"),
        (2, 0, "r0 r1"),
        (0, 0, ""),
    ],
)
def test_four_pictures(right: int, wrong: int, expected: str) -> None:
    assert " ".join(answer.picture.name for answer in choose(answers(right, wrong), 4)) == expected


def test_an_odd_number_and_none() -> None:
    assert [answer.picture.name for answer in choose(answers(5, 5), 3)] == ["w4", "r0", "r4"]
    assert choose(answers(5, 5), 0) == []


def test_cards_say_what_the_model_said(trained: Path, record_of: Callable[..., Record]) -> None:
    record = record_of(trained)
    assert record.measured is not None
    gallery = make_gallery(record, EvalRequest(), 48, QUIET)
    assert gallery is not None
    assert (gallery.looked, gallery.total, len(gallery.cards)) == (9, 9, 9)
    hits = round(record.measured.final["top1"] * 9)
    assert gallery.wrong == 9 - hits
    assert [card.right for card in gallery.cards] == [False] * (9 - hits) + [True] * hits
    for card in gallery.cards:
        assert card.file.startswith(f"test/{card.true}/")
        assert (card.rank == 1) == card.right
        assert 0 <= card.truth <= card.probability <= 1
        assert card.evidence.startswith("data:image/webp;base64,")
        assert card.evidence != card.plain
        assert card.heat.startswith(("CAM of ", "Grad-CAM of "))
    for pair in gallery.pairs:
        assert {(card.true, card.predicted) for card in pair.wrong} <= {(pair.facts["true"], pair.facts["predicted"])}
        assert all(card.right for card in pair.known)
        assert 1 <= len(pair.wrong) <= 2
    assert len(gallery.pairs) == len(record.measured.result["confusions"])


@pytest.mark.parametrize("recorded", [True, False])
def test_what_was_recorded_is_not_predicted_again(
    recorded: bool, trained: Path, record_of: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was evaluated before predictions were recorded is predicted: the cards are the same."""
    record = record_of(trained)
    assert record.measured is not None
    expected = make_gallery(record, EvalRequest(), 48, QUIET)
    file = trained / record.measured.result["files"]["predictions"]
    if not recorded:
        monkeypatch.setitem(record.measured.result["files"], "predictions", f"{file}.gone")
    passes: list[int] = []
    monkeypatch.setattr("fgvc_cli.report.gallery.look", lambda *a, **k: passes.append(1) or look(*a, **k))
    gallery = make_gallery(record, EvalRequest(), 48, QUIET)
    assert gallery is not None
    assert expected is not None
    assert len(passes) == (1 if recorded else 2)
    assert [card.file for card in gallery.cards] == [card.file for card in expected.cards]


@pytest.mark.parametrize("inside", [False, True])
def test_an_image_that_cannot_be_read_is_told(
    inside: bool, run: Path, odd_photos: Path, record_of: Callable[..., Record]
) -> None:
    """What is no image at all the first look at the data refuses; damage inside shows when it is decoded."""
    record = record_of(run)
    broken = odd_photos / "test" / "blue" / "1.png"
    content = broken.read_bytes()
    try:
        middle = len(content) // 2
        damaged = content[:middle] + bytes(40) + content[middle + 40 :]
        broken.write_bytes(damaged if inside else b"no image")
        gallery = make_gallery(record, EvalRequest(), 48, QUIET)
    finally:
        broken.write_bytes(content)
    assert any("1.png" in notice for notice in record.notices)
    if inside:
        assert gallery is not None
        assert gallery.looked == 9  # the predictions were recorded while it was whole
    else:
        assert gallery is None


def test_without_data_there_are_no_pictures_and_it_says_why(
    run: Path, odd_photos: Path, record_of: Callable[..., Record]
) -> None:
    record = record_of(run)
    hidden = odd_photos.with_name("hidden")
    odd_photos.rename(hidden)
    try:
        assert make_gallery(record, EvalRequest(), 48, QUIET) is None
    finally:
        hidden.rename(odd_photos)
    assert any(notice.startswith("No pictures:") and str(odd_photos) in notice for notice in record.notices)


def test_a_wide_picture_keeps_its_shape(run: Path, odd_photos: Path, record_of: Callable[..., Record]) -> None:
    record = record_of(run)
    file = odd_photos / "test" / "blue" / "0.png"
    whole = file.read_bytes()
    try:
        Image.open(file).resize((400, 100)).save(file)
        gallery = make_gallery(record, EvalRequest(), 48, QUIET)
    finally:
        file.write_bytes(whole)
    assert gallery is not None
    (card,) = [card for card in gallery.cards if card.file == "test/blue/0.png"]
    assert card.width / card.height == pytest.approx(4, rel=0.05)
