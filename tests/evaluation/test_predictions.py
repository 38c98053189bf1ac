from __future__ import annotations

import numpy as np
import pytest

from fgvc_cli.data.types import Split
from fgvc_cli.errors import FgvcError
from fgvc_cli.evaluation.metrics import Predicted
from fgvc_cli.evaluation.predictions import ImagePrediction, read_predictions, write_predictions

CLASSES = ("wren, house", 'the "winter" wren')


def test_what_is_written_is_read_in_the_splits_order(tmp_path) -> None:
    split = Split(("a/1.jpg", "a/2, cut.jpg", "b/3.jpg"), np.array([0, 0, 1]))
    shares = np.array([0.5, 1 / 3, 1.0])
    predicted = Predicted(np.arange(3), split.labels, np.array([1, 0, 1]), np.ones(3), shares)
    write_predictions(tmp_path / "p.csv", split, CLASSES, predicted)
    first, second, third = read_predictions(tmp_path / "p.csv")
    assert first == ImagePrediction("a/1.jpg", CLASSES[0], CLASSES[1], 0.5)
    assert (second.image, second.probability) == ("a/2, cut.jpg", 1 / 3)
    assert third == ImagePrediction("b/3.jpg", CLASSES[1], CLASSES[1], 1.0)


@pytest.mark.parametrize("text", ["", "image,true\na,b\n", "image,true,predicted,probability\na,b,c,much\n"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, text: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text)
    if not text:
        assert read_predictions(file) == []
        return
    with pytest.raises(FgvcError, match=r"cannot read .*p\.csv.*fgvc eval") as caught:
        read_predictions(file)
    assert "\n" not in str(caught.value)
