"""Files that are no exports of fgvc: one clear line each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from fgvc_cli import __version__
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.exported import open_exported
from fgvc_cli.inference.exported.about import KEY, LAYOUT, preprocessing_of
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.run import RunSpec


def written(file: Path, about: object = None, opset: int = 20, ir: int = 9) -> Path:
    """A graph of one operator."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, 32, 32])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3, 32, 32])
    node = helper.make_node("Cast", ["images"], ["probabilities"], to=TensorProto.FLOAT)
    graph = helper.make_graph([node], "g", [images], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    if about is not None:
        model.metadata_props.add(key=KEY, value=json.dumps(about))
    save(model, str(file))
    return file


def about(**more: object) -> dict[str, object]:
    spec = RunSpec(data=DataSpec(image_size=32)).model_dump(mode="json")
    return {"layout": LAYOUT, "fgvc": __version__, "run": "r", "spec": spec, "classes": ["a"], "epoch": 1, **more}


def test_a_file_of_ours_says_what_it_is(tmp_path: Path) -> None:
    model = open_exported(written(tmp_path / "x.onnx", about(temperature=0.5)), batch_size=3)
    assert (model.name, model.classes, model.temperature, model.epoch) == ("x.onnx", ("a",), 0.5, 1)
    assert (model.batch_size, model.boxes, model.taxonomy) == (3, {}, None)
    assert model.probabilities(np.zeros((2, 3, 32, 32), dtype=np.uint8)).shape == (2, 3, 32, 32)
    with pytest.raises(FgvcError, match=r"x\.onnx: onnxruntime failed: "):
        model.run(np.zeros((2, 3, 16, 16), dtype=np.uint8))


def test_large_weights_are_read_once_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "x.onnx", about())
    assert open_exported(file).piece == 4
    monkeypatch.setattr("fgvc_cli.inference.exported.model._LARGE", 1)
    assert open_exported(file).piece == 16


@pytest.mark.parametrize(
    ("kept", "line"),
    [
        (None, "was not written by `fgvc export`"),
        ({"layout": 1}, "what fgvc wrote into it is damaged: "),
        (about(layout=LAYOUT + 1), "in another layout: export the run again"),
        (about(validation={"confidence": [0.5], "right": [], "score": []}), "damaged: "),
        (about(spec={"method": {"name": "gone"}}), "x.onnx"),
    ],
)
def test_not_ours(tmp_path: Path, kept: object, line: str) -> None:
    with pytest.raises(FgvcError) as found:
        open_exported(written(tmp_path / "x.onnx", kept))
    assert line in str(found.value)
    assert "\n" not in str(found.value)


def test_no_onnx_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(BadRequest, match="is not an ONNX file, or it is damaged"):
        open_exported(tmp_path / "x.onnx")
    with pytest.raises(BadRequest, match="there is no model at"):
        open_exported(tmp_path / "gone.onnx")
    with pytest.raises(BadRequest, match=r"cannot read .*: it is a folder"):
        open_exported(tmp_path)


@pytest.mark.parametrize(("opset", "ir"), [(99, 9), (20, 99)])
def test_another_version_of_onnx(tmp_path: Path, opset: int, ir: int) -> None:
    file = written(tmp_path / "x.onnx", about(), opset, ir)
    with pytest.raises(BadRequest, match=r"does not know this version of ONNX .*: pip install --upgrade onnxruntime"):
        open_exported(file)


def test_the_preprocessing_is_told_in_numbers() -> None:
    told = preprocessing_of(DataSpec(image_size=224, resize=256, fit="crop", interpolation="bicubic"))
    assert (told["fit"], told["resize"], told["crop"], told["interpolation"]) == ("crop", 256, 224, "bicubic")
    assert told["in_the_graph"]["mean"] == [0.485, 0.456, 0.406]
