"""What to say where an exporter lacks an operator: who needs it, and what does without."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from torch.export import ExportedProgram
from torch.fx import Node

from fgvc_cli.backbones import Backbone
from fgvc_cli.methods import METHODS
from fgvc_cli.spec.run import RunSpec

_BACKBONE = f"{Backbone.__module__}.{Backbone.__qualname__}"
_FORMATS = "export with --format torch or safetensors"


def explained_lack(operator: str, program: ExportedProgram, spec: RunSpec) -> str:
    """One line.

    Args:
        operator: PyTorch's name of it, `aten.sort.stable`.
        program: that needs it.
        spec: of the run.
    """
    named = operator.removesuffix(".default")
    what = f"{spec.method.name} on {spec.backbone.name}: the operator {named} has no form in ONNX"
    users = [node for node in program.graph.nodes if _packet(str(node.target)) == _packet(operator)]
    answering = _before(program)
    if users and not answering.intersection(users):
        return f"{what}, and only evidence needs it: leave --evidence out, or {_FORMATS}"
    of_backbone = [_in_backbone(node) for node in users if node in answering]
    settings = settings_without(operator, spec)
    if of_backbone and all(of_backbone):
        return f"{what}. The backbone needs it, not the method: {_FORMATS}, or train on another --backbone"
    if settings:
        also = " on another --backbone, since this one needs it too" if any(of_backbone) else ""
        return f"{what}: {_FORMATS}, or train with --set {' or --set '.join(settings)}{also}"
    return f"{what}. No setting of {spec.method.name} is known that avoids it: {_FORMATS}" + (
        "" if of_backbone else ", or try another --backbone"  # it is of a larger operator that was taken apart
    )


def settings_without(operator: str, spec: RunSpec) -> Sequence[str]:
    """`method.field=value` of what the run's method declares to avoid it, where that is possible with its settings."""
    found = []
    for setting, operators in METHODS[type(spec.method)].avoids.items():
        field, _, value = setting.partition("=")
        if _packet(operator) in operators and _possible(spec, field, value):
            found.append(f"method.{setting}")
    return found


def _possible(spec: RunSpec, field: str, value: str) -> bool:
    now = spec.method.model_dump()
    try:
        return type(spec.method).model_validate(now | {field: value}) != spec.method
    except ValidationError:
        return False


def _packet(name: str) -> str:
    """`aten.sort.stable` → `sort`: an operator without the namespace and the variant."""
    return name.split(".")[1] if "." in name else name


def _before(program: ExportedProgram) -> set[Node]:
    """All nodes that the probabilities, the first output, are computed from."""
    found: set[Node] = set()
    [returned] = next(node for node in program.graph.nodes if node.op == "output").args
    ahead = [returned[0]]
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += node.all_input_nodes
    return found


def _in_backbone(node: Node) -> bool:
    return any(kind == _BACKBONE for _, kind in node.meta.get("nn_module_stack", {}).values())
