"""A program as an ONNX file, by PyTorch's exporter (extra `onnx`)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.export.lacking import explained_lack
from fgvc_cli.files import explained, json_text
from fgvc_cli.inference.exported.about import IMAGES, KEY, ExportAbout
from fgvc_cli.spec.run import RunSpec

OPSET = 20
_MOST_BYTES = 2**31 - 2**20  # of a protocol buffer
_LACKS = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)', overload='(\w+)'\)>")


def check_packages() -> None:
    """BadRequest if the packages of the extra `onnx` are missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise BadRequest(f"--format onnx needs {name}: pip install 'fgvc[onnx]'") from None


def as_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], spec: RunSpec, *, optimise: bool = True
) -> Any:
    """The program as an onnx.ModelProto.

    Args:
        program: of `fgvc_cli.export.graph.traced`.
        names: of its outputs.
        spec: of the run, for the message.
        optimise: whether constants are folded and operators fused.

    Raises:
        FgvcError: an operator has no form in ONNX; the message names it and what does without.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program,
                input_names=[IMAGES],
                output_names=list(names),
                opset_version=OPSET,
                verbose=False,
                optimize=optimise,
                custom_translation_table=_translations(),
            )
    except torch.onnx.OnnxExporterError as error:
        raise FgvcError(_failed(error, program, spec)) from error
    assert made is not None
    return made.model_proto


def _failed(error: Exception, program: torch.export.ExportedProgram, spec: RunSpec) -> str:
    found = _LACKS.search(str(error))
    if found is None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = f"{spec.method.name} on {spec.backbone.name}"
        return f"PyTorch's ONNX exporter failed on {what}: {lines[-1] if lines else error}"
    return explained_lack(f"{found[1].replace('::', '.')}.{found[2]}", program, spec)


def _translations() -> dict[Any, Any]:
    """Operators that PyTorch's exporter lacks, as ONNX has them."""
    from onnxscript import opset20

    op: Any = opset20

    def stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        """TopK of all: of equal values it too takes the lower index first."""
        size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
        return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: stable_sort}


def write_onnx(model: Any, about: ExportAbout, file: Path) -> None:
    """Write a ModelProto with what answers need beside the network.

    Raises:
        FgvcError: it is too large for one file, or cannot be written.
    """
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json_text(about.model_dump(mode="json")))
    model.producer_name, model.producer_version = "fgvc", about.fgvc
    if model.ByteSize() > _MOST_BYTES:
        raise FgvcError("the network is larger than the 2 GB of an ONNX file: use --precision fp16, or --format torch")
    with explained(str(file)):
        file.write_bytes(model.SerializeToString())
