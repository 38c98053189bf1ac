"""RunSpec: everything that decides what a run computes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.base import Spec
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.spec.methods import AnyMethodSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import OptimSpec
from fgvc_cli.spec.regularise import RegulariseSpec
from fgvc_cli.spec.train import TrainSpec

SCHEMA_VERSION: Literal[1] = 1


class RunSpec(Spec):
    """A whole run: method, backbone, data, optimization, regularisation, engine. Saved as `run.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    preset: str | None = Field(None, description="the preset this spec started from")
    method: AnyMethodSpec = BaselineSpec()
    backbone: BackboneSpec = BackboneSpec()
    data: DataSpec = DataSpec()
    optim: OptimSpec = OptimSpec()
    regularise: RegulariseSpec = RegulariseSpec()
    train: TrainSpec = TrainSpec()
