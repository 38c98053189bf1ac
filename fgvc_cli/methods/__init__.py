"""The explicit table of methods, and how a run's method is built."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fgvc_cli.backbones import build_backbone, find_run, load_backbone_weights, set_checkpointing
from fgvc_cli.errors import BadRequest
from fgvc_cli.methods.apcnn.method import ApCnn
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.baseline import Baseline
from fgvc_cli.methods.clan import Clan
from fgvc_cli.methods.reaps import Reaps
from fgvc_cli.methods.scapnet.method import ScapNet
from fgvc_cli.methods.tdsa.method import Mc, Tdsa
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.methods.reaps import ReapsSpec
from fgvc_cli.spec.methods.scapnet import ScapNetSpec
from fgvc_cli.spec.methods.tdsa import McSpec, TdsaSpec
from fgvc_cli.spec.run import RunSpec

METHODS: dict[type[MethodSpec], type[Method]] = {
    BaselineSpec: Baseline,
    ReapsSpec: Reaps,
    ApCnnSpec: ApCnn,
    ScapNetSpec: ScapNet,
    ClanSpec: Clan,
    TdsaSpec: Tdsa,
    McSpec: Mc,
}


def build_method(spec: RunSpec, num_classes: int, *, load_weights: bool = True) -> tuple[Method, list[str]]:
    """The method of a run with its starting weights, and what the user should know about these, a line each.

    The backbone gets its weights before the method is built, so that a method's second network starts from them
    too. A run of the same method then gives every other tensor that fits.

    Args:
        spec: of the run.
        num_classes: K.
        load_weights: false: the starting weights are neither fetched nor read (those of a checkpoint will follow).

    Raises:
        BadRequest, FgvcError: as `build_backbone`, `load_backbone_weights` and `set_checkpointing`.
    """
    backbone = build_backbone(spec.backbone.name)
    notes = load_backbone_weights(backbone, spec.backbone) if load_weights else []
    method = METHODS[type(spec.method)](spec.method, backbone, num_classes, spec.data.image_size)
    set_checkpointing(method, spec.train.gradient_checkpointing)
    run = find_run(spec.backbone.weights) if load_weights else None
    if run is None:
        return method, notes + (method.notes if load_weights and spec.backbone.weights != "none" else [])
    same_method = run.method == spec.method.name
    told = load_run_weights(method, run.tensors(), same_method=same_method)
    return method, told if same_method else notes + told  # of the same method it tells of the backbone too


def load_run_weights(method: Method, tensors: Mapping[str, Tensor], *, same_method: bool) -> list[str]:
    """Copy a run's tensors into a method; returns what was left out, a line each.

    Args:
        method: what receives them.
        tensors: the run's state dict.
        same_method: every tensor of equal name and shape is taken; otherwise only those of `backbone.*`.

    Raises:
        BadRequest: nothing fits.
    """
    own = method.state_dict()
    offered = {key: value for key, value in tensors.items() if same_method or key.startswith("backbone.")}
    fitting = {key: value for key, value in offered.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise BadRequest("weights: no tensor of that run fits: it has another backbone")
    with torch.no_grad():
        for key, value in fitting.items():
            own[key].copy_(value)
    left, fresh = _modules(set(tensors) - set(fitting)), _modules(set(own) - set(fitting))
    return [
        *([f"left out of the run's weights: {', '.join(left)}"] if left else []),
        *([f"not in the run: {', '.join(fresh)}"] if fresh and same_method else []),
    ]


def _modules(keys: set[str]) -> list[str]:
    """The modules that state-dict keys belong to, a backbone counting as one."""
    return sorted({re.sub(r"\bbackbone\..*", "backbone", key.rpartition(".")[0]) for key in keys})
