"""The table of methods, and the construction of a run's method."""

from __future__ import annotations

from collections.abc import Sequence

from fgvc_cli.backbones import Backbone, build_backbone, find_run, freeze, load_backbone_weights, set_checkpointing
from fgvc_cli.methods.apcnn.method import ApCnn
from fgvc_cli.methods.base import Method
from fgvc_cli.methods.baseline import Baseline
from fgvc_cli.methods.clan import Clan
from fgvc_cli.methods.probe.method import Probe
from fgvc_cli.methods.reaps import Reaps
from fgvc_cli.methods.run_weights import load_run_weights
from fgvc_cli.methods.scapnet.method import ScapNet
from fgvc_cli.methods.tdsa.method import Mc, Tdsa
from fgvc_cli.spec.methods.apcnn import ApCnnSpec
from fgvc_cli.spec.methods.base import MethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.methods.clan import ClanSpec
from fgvc_cli.spec.methods.probe import ProbeSpec
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
    ProbeSpec: Probe,
}


def build_method(
    spec: RunSpec, num_classes: int, *, load_weights: bool = True, classes: Sequence[str] | None = None
) -> tuple[Method, list[str]]:
    """Build the method of a run with its starting weights; also returns notes for the user, one line each.

    The backbone's weights are loaded before the method is built, so a method that copies the backbone copies them too.
    If the weights are those of a run of the same method, all other tensors that fit are loaded as well.

    Args:
        spec: the run's spec.
        num_classes: K.
        load_weights: false: do not download or read starting weights (a checkpoint is loaded afterwards).
        classes: the names of the K classes: a run's weights of a class go to the class of that name. None: by position.

    Raises:
        BadRequest, FgvcError: as `build_backbone`, `load_backbone_weights` and `set_checkpointing`.
    """
    backbone = _backbone(spec)
    notes = load_backbone_weights(backbone, spec.backbone) if load_weights else []
    method = _assembled(spec, backbone, num_classes)
    run = find_run(spec.backbone.weights) if load_weights else None
    if run is None:
        return method, notes + (method.notes if load_weights and spec.backbone.weights != "none" else [])
    same_method = run.method == spec.method.name
    of_classes = None if classes is None else (tuple(classes), run.classes)
    run_notes = load_run_weights(
        method,
        run.tensors(),
        same_method=same_method,
        classes=of_classes,
        build=lambda count: _assembled(spec, _backbone(spec), count),
    )
    return method, run_notes if same_method else notes + run_notes  # for the same method, they cover the backbone too


def _backbone(spec: RunSpec) -> Backbone:
    reads = METHODS[type(spec.method)].reads_embedding(spec.method)
    return build_backbone(spec.backbone.name, embedding=reads, drop_path=spec.backbone.drop_path)


def _assembled(spec: RunSpec, backbone: Backbone, num_classes: int) -> Method:
    method = METHODS[type(spec.method)](spec.method, backbone, num_classes, spec.data.side)
    set_checkpointing(method, spec.train.gradient_checkpointing)
    freeze(method, spec.backbone.freeze, norm=spec.backbone.keeps_statistics)
    return method
