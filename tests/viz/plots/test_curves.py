"""Curves of runs: what is read, and where it is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.viz.plots.curves import Curves, curves_figure, draw_curves, unique_labels
from fgvc_cli.viz.plots.palette import COLOURS

PLAIN = """epoch,step,lr,seconds,train_loss,train_final,train_top1
0,5,0.1,1.5,2.5,2.5,0.25
1,10,0.1,1.5,1.5,1.5,0.5
"""
HELD_OUT = """epoch,step,train_loss,train_cls,train_act,train_top1,val_loss,val_top1
0,5,3,2,1,0.25,2,0.125
1,10,2,1.5,0.5,0.5,,0.625
2,15,1,1,0,0.75,1.5,0.625
"""


def curves(folder: Path, text: str = PLAIN) -> Curves:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text(text)
    return Curves.read(RunFolder(folder))


def lines(axes) -> list[tuple[str, list[float], list[float]]]:
    return [(line.get_linestyle(), list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def test_a_plain_run(tmp_path: Path) -> None:
    loss, top1 = curves_figure([curves(tmp_path / "a")]).axes
    assert lines(loss) == [("-", [1, 2], [2.5, 1.5])]
    assert lines(top1) == [("-", [1, 2], [25, 50])]
    assert (loss.get_ylabel(), top1.get_ylim()[0]) == ("loss", 0)


def test_held_out_images_parts_of_the_loss_and_the_epoch_kept(tmp_path: Path) -> None:
    run = curves(tmp_path / "a", HELD_OUT)
    assert run.parts == ["cls", "act"]
    loss, top1, parts = curves_figure([run]).axes
    assert [(style, x) for style, x, _ in lines(loss)] == [("-", [1, 2, 3]), ("--", [1, 2, 3]), ("None", [2])]
    np.testing.assert_array_equal(lines(loss)[1][2], [2, np.nan, 1.5])  # an epoch without a value is a gap
    assert lines(top1)[1:] == [("--", [1, 2, 3], [12.5, 62.5, 62.5]), ("None", [2], [62.5])]  # the first of the best
    assert [line.get_label() for line in parts.lines] == ["cls", "act"]
    assert loss.get_ylabel() == "loss (validation: cross entropy)"


def test_one_epoch_is_a_dot(tmp_path: Path) -> None:
    (line,) = curves_figure([curves(tmp_path / "a", "epoch,train_loss,train_top1\n0,1.5,0.5\n")]).axes[0].lines
    assert (line.get_marker(), list(line.get_ydata())) == ("o", [1.5])


def test_what_is_not_there_is_said_in_its_place(tmp_path: Path) -> None:
    loss, top1 = curves_figure([curves(tmp_path / "a", "epoch,train_loss\n0,1\n1,2\n")]).axes
    assert not top1.lines
    assert [text.get_text() for text in top1.texts] == ["not in metrics.csv"]
    assert len(loss.lines) == 1


def test_many_runs_are_told_apart(tmp_path: Path) -> None:
    names = ["same", "same", *(f"run$_{{{place}}}$" for place in range(2, 12))]
    runs = [
        curves(tmp_path / f"{place}" / name, f"epoch,train_loss,train_top1\n0,{place},0\n1,{place},0.1\n")
        for place, name in enumerate(names)
    ]
    figure = curves_figure(runs)
    loss, top1 = figure.axes
    looks = {(line.get_color(), line.get_marker()) for line in loss.lines}
    assert len(looks) == 12
    names = [text.get_text() for text in top1.get_legend().get_texts()]
    assert names[:3] == ["same (1)", "same (2)", "run$_{2}$"]
    assert not any(text.get_parse_math() for text in top1.get_legend().get_texts())
    assert unique_labels(["a" * 40 + "1", "a" * 40 + "2"]) == ["a" * 35 + "… (1)", "a" * 35 + "… (2)"]
    draw_curves(tmp_path / "many.png", runs[: len(COLOURS)], 110)
    pixels = np.asarray(Image.open(tmp_path / "many.png").convert("RGB")).reshape(-1, 3)
    seen = {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in np.unique(pixels, axis=0)}
    assert set(COLOURS) <= seen


def test_resolution_and_panels(tmp_path: Path) -> None:
    draw_curves(tmp_path / "a.png", [curves(tmp_path / "a")], 60)
    draw_curves(tmp_path / "b.png", [curves(tmp_path / "a")], 120)
    draw_curves(tmp_path / "c.png", [curves(tmp_path / "a", HELD_OUT)], 60)
    width, double, three = (Image.open(tmp_path / name).width for name in ("a.png", "b.png", "c.png"))
    assert double == pytest.approx(2 * width, rel=0.03)
    assert three > 1.3 * width


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        (None, BadRequest, "it has not finished an epoch"),
        ("", BadRequest, "it has not finished an epoch"),
        ("epoch,train_loss\n", BadRequest, "it has not finished an epoch"),
        ("step,train_loss\n0,1\n", FgvcError, "is damaged"),
        ("epoch,train_loss\n0,many\n", None, "is damaged"),
        ("epoch,train_loss\n0,1,2\n", None, ""),
        ("epoch,train_loss\n0\n", None, ""),  # a short row: the value is missing
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str | None, error: type[FgvcError] | None, line: str) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    if error is None:
        read = Curves.read(RunFolder(tmp_path))
        assert read.epochs.tolist() == [1]
        assert line in "".join(read.problems)
        return
    with pytest.raises(error, match=line):
        Curves.read(RunFolder(tmp_path))
