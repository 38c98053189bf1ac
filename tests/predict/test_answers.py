"""What a model answers to pictures, beside what the network says and hand-computed boxes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_cli.inference.look import Model, look, open_model
from fgvc_cli.inference.pictures import find_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.predict.answers import Answer, Failed, predict
from fgvc_cli.predict.rules import Rules
from fgvc_cli.runs.checkpoint import load_model, save_model
from tests.conftest import small_spec, untrained

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def file(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = small_spec(photos, "reaps", "method.units=8")
    return untrained(spec, CLASSES, tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def model(file: Path) -> Model:
    return open_model(file, EvalRequest(batch_size=2))


def test_each_picture_in_its_place(model: Model, photos: Path, tmp_path: Path) -> None:
    """The third batch cannot be read at all, nor can the last picture."""
    files = []
    for number in range(7):
        files.append(tmp_path / f"{number}.png")
        good = number in (0, 2, 3, 6)
        files[-1].write_bytes((photos / f"test/red/{number % 3}.png").read_bytes() if good else b"x")
    files.append(tmp_path / "gone.png")
    pictures = find_pictures(["-"], map(str, files))
    batches = list(predict(model, pictures, top=2))
    rows = [row for batch in batches for row in batch]
    assert [row.picture.file for row in rows] == files
    assert [type(row) for row in rows] == [Answer, Failed, Answer, Answer, Failed, Failed, Answer, Failed]
    assert rows[1].reason == "is not a readable image (unknown format or damaged)"
    assert rows[7].reason == "cannot be read (No such file or directory)"
    for picture, row in zip(pictures, rows, strict=True):
        [[alone]] = predict(model, [picture], top=2)
        if isinstance(row, Answer) and isinstance(alone, Answer):
            assert [guess.name for guess in row.top] == [guess.name for guess in alone.top]
            assert row.top[0].probability == pytest.approx(alone.top[0].probability, abs=1e-5)


def test_probabilities_are_the_networks(model: Model, photos: Path) -> None:
    pictures = find_pictures([str(photos / "test")])
    logits = torch.cat([seen.output.logits for seen in look(model, pictures)])
    rows = [row for batch in predict(model, pictures, top=9) for row in batch]
    for row, expected in zip(rows, logits.softmax(1), strict=True):
        assert isinstance(row, Answer)
        assert (row.height, row.width) == (40, 36)
        assert len(row.top) == 3
        assert [guess.probability for guess in row.top] == sorted(expected.tolist(), reverse=True)
        assert {guess.name: guess.probability for guess in row.top} == dict(
            zip(CLASSES, expected.tolist(), strict=True)
        )


def test_unsure_is_what_is_less_likely(model: Model, photos: Path) -> None:
    pictures = find_pictures([str(photos / "test/red/0.png")])

    def answer(least: float) -> Answer:
        [[row]] = predict(model, pictures, rules=Rules(min_confidence=least))
        assert isinstance(row, Answer)
        return row

    sure = answer(0)
    likely = sure.top[0].probability
    assert (sure.text, sure.unsure) == (sure.top[0].name, False)
    assert not answer(likely).unsure
    assert (answer(likely + 1e-6).text, answer(likely + 1e-6).unsure) == ("unsure", True)
    assert answer(1).top == sure.top


def test_probabilities_are_calibrated(file: Path, model: Model, photos: Path, tmp_path: Path) -> None:
    weights, about = load_model(file)
    save_model(tmp_path / "hot.safetensors", weights, about | {"temperature": 0.25})
    pictures = find_pictures([str(photos / "test/red/0.png")])
    hot = next(predict(open_model(tmp_path / "hot.safetensors"), pictures, top=1))[0]
    logits = next(look(model, pictures)).output.logits
    assert isinstance(hot, Answer)
    assert hot.top[0].probability == pytest.approx(float((4 * logits).softmax(1).max()))
    assert hot.top[0].probability > float(logits.softmax(1).max()) + 1e-3


def test_boxes_are_in_the_originals_pixels(model: Model, tmp_path: Path) -> None:
    """72 × 18 resized to 36 × 36, and two pixels cut off on each side: x = 2 (x' + 2), y = (y' + 2) / 2."""
    Image.effect_noise((72, 18), 90).convert("RGB").save(tmp_path / "wide.png")
    pictures = find_pictures([str(tmp_path / "wide.png")])
    seen = next(look(model, pictures, evidence=True))
    assert seen.output.evidence is not None
    inside = seen.output.evidence.boxes["ran"]
    x0, y0, x1, y1 = inside.xyxy[0, 0].tolist()
    [[row]] = predict(model, pictures, boxes=True)
    assert isinstance(row, Answer)
    (box,) = row.boxes["ran"]
    assert box is not None
    assert box.xyxy == pytest.approx((2 * (x0 + 2), (y0 + 2) / 2, 2 * (x1 + 2), (y1 + 2) / 2), abs=1e-3)
    assert box.score == pytest.approx(float(inside.scores[0, 0]))
    [[row]] = predict(model, pictures)
    assert isinstance(row, Answer)
    assert row.boxes == {}


def test_no_number_is_no_answer(file: Path, photos: Path, tmp_path: Path) -> None:
    weights = {
        name: torch.full_like(w, torch.nan) if name == "joint.bias" else w for name, w in load_file(file).items()
    }
    save_model(tmp_path / "broken.safetensors", weights, load_model(file)[1])
    [[row]] = predict(open_model(tmp_path / "broken.safetensors"), find_pictures([str(photos / "test/red/0.png")]))
    assert isinstance(row, Failed)
    assert "not finite" in row.reason
