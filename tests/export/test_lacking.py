"""What the exporter lacks, and what a user is told then: every choice among named options is exported for real."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.export.graph import traced
from fgvc_cli.export.lacking import explained_lack, settings_without
from fgvc_cli.export.onnx_file import as_onnx
from fgvc_cli.inference.look import Model
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import Output
from fgvc_cli.spec.methods import METHOD_SPECS
from tests.export.test_graph import NAMES, check, model_of, spec_of

FORMATS = "export with --format torch or safetensors"


def options(kind: Any) -> list[Any]:
    """The values of a type that names all of them."""
    if kind is bool:
        return [True, False]
    parts = typing.get_args(kind)
    return (
        list(parts) if typing.get_origin(kind) is typing.Literal else [one for part in parts for one in options(part)]
    )


def choices(method: str) -> list[str]:
    """`method.field=value` of every named option that is no default, and of every declared way out."""
    kind = METHOD_SPECS[method]
    named = (
        f"{field}={str(value).lower()}"
        for field, about in kind.model_fields.items()
        if field != "name"
        for value in options(about.annotation)
        if value != about.default
    )
    return [f"method.{one}" for one in dict.fromkeys([*named, *METHODS[kind].avoids])]


def possible(method: str, choice: str) -> tuple[str, ...]:
    """A choice with as few others as it takes to be valid."""
    others = [one for one in choices(method) if one.split("=")[0] != choice.split("=")[0]]
    for count in range(3):
        for more in itertools.combinations(others, count):
            try:
                spec_of(method, "tiny", 64, choice, *more)
            except BadRequest:
                continue
            return (choice, *more)
    raise AssertionError(choice)


def operators(method: str, *sets: str) -> set[str]:
    """PyTorch's operators of its graph, without the variant."""
    program, _, _ = traced(model_of(method, "tiny", 64, *sets), evidence=True, dynamic_batch=True)
    return {str(node.target).split(".")[1] for node in program.graph.nodes if str(node.target).startswith("aten.")}


@pytest.mark.slow
@pytest.mark.parametrize("method", NAMES)
def test_every_named_option_has_a_form_in_onnx(method: str, tmp_path: Path) -> None:
    for choice in choices(method):
        sets = possible(method, choice)
        check(model_of(method, "tiny", 64, *sets), "onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", NAMES)
def test_declared_ways_out_are_ones(method: str) -> None:
    ways = METHODS[METHOD_SPECS[method]].avoids
    if not ways:
        return
    found = {choice: operators(method, *possible(method, choice)) for choice in choices(method)}
    there = set().union(*found.values())
    for setting, without in ways.items():
        assert not found[f"method.{setting}"].intersection(without), setting
        assert there.intersection(without), setting


def sorting(values: Tensor) -> Tensor:
    """Needs an operator that PyTorch's exporter lacks."""
    return values.sort(dim=1, descending=True, stable=True).values


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgvc_cli.export.onnx_file._translations", dict)


class Sorting(nn.Module):
    """As a part of a network."""

    def forward(self, values: Tensor) -> Tensor:
        return sorting(values)


def refused(model: Model, *, evidence: bool = False) -> str:
    program, names, _ = traced(model, evidence=evidence, dynamic_batch=True)
    with pytest.raises(FgvcError) as found:
        as_onnx(program, names, model.spec, optimise=False)
    return str(found.value)


LINE = "baseline on tiny: the operator aten.sort.stable has no form in ONNX"


@pytest.mark.usefixtures("lacking")
def test_an_operator_of_the_backbone() -> None:
    model = model_of("baseline", "tiny", 32)
    trunk = model.trained.method.backbone.trunk
    trunk.conv1 = nn.Sequential(trunk.conv1, Sorting())
    way = f"The backbone needs it, not the method: {FORMATS}, or train on another --backbone"
    assert refused(model) == f"{LINE}. {way}"


def of_answer(output: Output) -> Output:
    return replace(output, logits=sorting(output.logits))


def of_evidence(output: Output) -> Output:
    assert output.evidence is not None
    assert output.evidence.embedding is not None
    return replace(output, evidence=replace(output.evidence, embedding=sorting(output.evidence.embedding)))


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(
    ("change", "evidence", "way"),
    [
        (of_answer, False, f". No setting of baseline is known that avoids it: {FORMATS}"),
        (of_evidence, True, f", and only evidence needs it: leave --evidence out, or {FORMATS}"),
    ],
)
def test_an_operator_of_the_answer_or_of_evidence_alone(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Output], Output], evidence: bool, way: str
) -> None:
    model = model_of("baseline", "tiny", 32)
    forward = model.trained.method.forward

    def changed(images: Tensor, *, evidence: bool = False) -> Output:
        return change(forward(images, evidence=evidence))

    monkeypatch.setattr(model.trained.method, "forward", changed)
    assert refused(model, evidence=evidence) == LINE + way


def test_an_operator_that_a_setting_and_the_backbone_need() -> None:
    model = model_of("scapnet", "tiny", 32)
    trunk = model.trained.method.backbone.trunk
    trunk.conv1 = nn.Sequential(trunk.conv1, Sorting())
    program, _, _ = traced(model, evidence=False, dynamic_batch=True)
    way = f"{FORMATS}, or train with --set method.parts=off on another --backbone, since this one needs it too"
    assert explained_lack("aten.sort.stable", program, model.spec).endswith(f"has no form in ONNX: {way}")


@pytest.mark.parametrize(
    ("method", "sets", "operator", "ways"),
    [
        ("reaps", (), "aten.lstm.input", ["part_branch=false"]),
        ("reaps", ("method.part_branch=false",), "aten.lstm.input", []),
        ("reaps", ("method.box=largest_component",), "aten.max_pool2d", ["box=mask"]),
        ("apcnn", (), "aten.grid_sampler", ["zoom=false", "refine=false"]),
        ("apcnn", ("method.erase=false",), "aten.grid_sampler", ["refine=false"]),  # without both nothing is refined
        ("tdsa", ("method.upsample=bicubic",), "aten.upsample_bicubic2d.vec", ["upsample=nearest"]),
        ("baseline", (), "aten.conv2d", []),
    ],
)
def test_which_settings_avoid_an_operator(method: str, sets: tuple[str, ...], operator: str, ways: list[str]) -> None:
    spec = spec_of(method, "tiny", 64, *sets)
    assert settings_without(operator, spec) == [f"method.{way}" for way in ways]
