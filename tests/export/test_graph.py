"""Every method and every backbone family in both graph formats: the file computes what the method computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fgvc_cli.backbones import resolved
from fgvc_cli.errors import FgvcError
from fgvc_cli.export.graph import Graph, example, traced
from fgvc_cli.export.onnx_file import as_onnx
from fgvc_cli.export.program_file import ProgramSession, write_program
from fgvc_cli.inference.exported.about import IMAGES, PROBABILITIES, ExportAbout
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.trained import Trained, make_ready
from fgvc_cli.methods import METHODS, build_method
from fgvc_cli.methods.base import Labelled
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec
from tests.making import SMALL

K = 4
PAIRS = [  # each method once, both formats; the two that take seconds are exported by the contract tests as well
    ("baseline", "timm:test_efficientnet", "onnx"),
    ("reaps", "tiny", "torch"),
    pytest.param("apcnn", "tiny", "torch", marks=pytest.mark.slow),
    pytest.param("scapnet", "tiny", "torch", marks=pytest.mark.slow),
    ("clan", "vgg16_bn", "torch"),
    ("tdsa", "timm:test_vit", "torch"),
    ("mc", "resnet18", "torch"),
    ("probe", "timm:test_convnext", "onnx"),
]
SLOW = pytest.mark.slow
NAMES = sorted({spec.model_fields["name"].default for spec in METHODS})


def spec_of(method: str, backbone: str, side: int, *sets: str) -> RunSpec:
    """The spec of a run on small images."""
    flags = {"data.root": "/", "data.image_size": side, "backbone.name": backbone, "backbone.weights": "none"}
    return resolved(build_spec(method=method, dataset="folder", flags=flags, sets=sets))


def model_of(method: str, backbone: str, side: int, *sets: str) -> Model:
    """A run's model with random weights, ready to predict."""
    spec = spec_of(method, backbone, side, *sets)
    torch.manual_seed(0)
    built, _ = build_method(spec, K, load_weights=False)
    if spec.method.at_once:
        embeddings = torch.randn(3 * K, built.embed(torch.zeros(2, 3, side, side)).shape[1])
        built.eval().fit(Labelled(embeddings, torch.arange(K).repeat(3)), None, lambda text: None)
    built.on_epoch(spec.train.epochs - 1, spec.train.epochs)
    trained = Trained(built.eval(), spec, tuple("abcd"), 1, temperature=0.6)
    make_ready(trained, torch.device("cpu"))
    return Model(Path("model.safetensors"), trained, spec, torch.device("cpu"))


def check(model: Model, form: str, folder: Path, *, evidence: bool = True, optimise: bool = True) -> None:
    """Any number of images, with all evidence: equal to the graph in eager PyTorch, and to probabilities()."""
    program, names, kinds = traced(model, evidence=evidence, dynamic_batch=True)
    if form == "onnx":
        proto = as_onnx(program, names, model.spec, optimise=optimise)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    else:
        about = ExportAbout(layout=1, fgvc="0", run="x", spec={}, classes=["a"], epoch=1)
        write_program(program, about, folder / "x.pt2")
        session = ProgramSession.load(folder / "x.pt2", names)
    assert not evidence or kinds is not None
    for batch in (1, 3):
        images = example(model, batch=batch)
        with torch.no_grad():
            expected = Graph(model, evidence=evidence)(images)
        found = session.run(names, {IMAGES: images.numpy()})
        assert names[0] == PROBABILITIES
        assert np.abs(found[0].sum(1) - 1).max() < 1e-5
        for name, one, other in zip(names, found, expected, strict=True):
            assert one.shape == tuple(other.shape), name
            if one.size:
                most = 1e-4 * max(1.0, float(other.double().abs().max()))
                assert np.abs(one.astype(float) - other.double().numpy()).max() <= most, name


@pytest.mark.parametrize(("method", "backbone", "form"), PAIRS)
def test_the_file_computes_what_the_method_computes(method: str, backbone: str, form: str, tmp_path: Path) -> None:
    check(model_of(method, backbone, 32), form, tmp_path, evidence=method == "clan", optimise=False)


def test_every_method_is_there() -> None:
    named = [pair[0] if isinstance(pair, tuple) and not hasattr(pair, "values") else pair.values[0] for pair in PAIRS]
    assert sorted(named) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize("method", NAMES)
def test_the_whole_table(method: str, backbone: str, form: str, tmp_path: Path) -> None:
    check(model_of(method, backbone, SMALL[backbone]), form, tmp_path)


@pytest.mark.parametrize("method", [pytest.param(name, marks=[] if name == "reaps" else SLOW) for name in NAMES])
def test_weights_in_16_bits(method: str) -> None:
    """The program computes in 32 bits what the rounded weights give; the model itself stays as it is."""
    model = model_of(method, "tiny", 32)
    before = {name: one.clone() for name, one in model.trained.method.state_dict().items()}
    program, _, _ = traced(model, evidence=True, dynamic_batch=True, half=True)
    for name, one in model.trained.method.state_dict().items():
        assert torch.equal(one, before[name]), name
        kept = program.state_dict[f"whole.method.{name}"]
        assert kept.dtype == (torch.float16 if one.is_floating_point() else one.dtype), name
        one.copy_(one.half() if one.is_floating_point() else one)
    images = example(model, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), Graph(model, evidence=True)(images))


class Sorted(torch.nn.Module):
    """Needs the operator that PyTorch's exporter lacks."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values, places = images.float().sort(dim=1, descending=True, stable=True)
        return values + places


TIES = torch.tensor([[3, 1, 3, 2, 1, 3]], dtype=torch.uint8)


def test_of_equal_values_the_lower_index_comes_first() -> None:
    program = torch.export.export(Sorted(), (TIES,))
    proto = as_onnx(program, ["sorted"], RunSpec(), optimise=False)
    [found] = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {IMAGES: TIES.numpy()})
    assert found.tolist() == [[3 + 0, 3 + 2, 3 + 5, 2 + 3, 1 + 1, 1 + 4]] == Sorted()(TIES).tolist()


def test_a_method_of_a_fixed_batch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("baseline", "tiny", 32)
    forward = model.trained.method.forward

    def fixed(images: torch.Tensor, *, evidence: bool = False) -> object:
        len(images)  # an int, so the batch is what it was
        return forward(images, evidence=evidence)

    monkeypatch.setattr(model.trained.method, "forward", fixed)
    with pytest.raises(FgvcError, match="works on a fixed number of images: leave --dynamic-batch out"):
        traced(model, evidence=False, dynamic_batch=True)
