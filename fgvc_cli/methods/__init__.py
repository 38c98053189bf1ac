"""The table of methods, and the construction of a run's method."""

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
    """Build the method of a run with its starting weights; also returns notes for the user, one line each.

    The backbone's weights are loaded before the method is built, so a method that copies the backbone copies them too.
    If the weights are those of a run of the same method, all other tensors that fit are loaded as well.

    Args:
        spec: the run's spec.
        num_classes: K.
        load_weights: false: do not download or read starting weights (a checkpoint is loaded afterwards).

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
    run_notes = load_run_weights(method, run.tensors(), same_method=same_method)
    return method, run_notes if same_method else notes + run_notes  # for the same method, they cover the backbone too


def load_run_weights(method: Method, tensors: Mapping[str, Tensor], *, same_method: bool) -> list[str]:
    """Copy a run's tensors into a method; returns notes on tensors that were not loaded, one line each.

    Args:
        method: receives the tensors, in place.
        tensors: the run's state dict.
        same_method: true: load every tensor whose name and shape match; false: only those of `backbone.*`.

    Raises:
        BadRequest: no tensor fits.
    """
    own = method.state_dict()
    offered = {key: value for key, value in tensors.items() if same_method or key.startswith("backbone.")}
    fitting = {key: value for key, value in offered.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise BadRequest("weights: no tensor of that run fits: it has a different backbone")
    with torch.no_grad():
        for key, value in fitting.items():
            own[key].copy_(value)
    left, fresh = _modules(set(tensors) - set(fitting)), _modules(set(own) - set(fitting))
    return [
        *([f"not loaded from the run's weights: {', '.join(left)}"] if left else []),
        *([f"missing in the run's weights: {', '.join(fresh)}"] if fresh and same_method else []),
    ]


def _modules(keys: set[str]) -> list[str]:
    """The modules that state-dict keys belong to; a whole backbone counts as one module."""
    return sorted({re.sub(r"\bbackbone\..*", "backbone", key.rpartition(".")[0]) for key in keys})
