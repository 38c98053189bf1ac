"""RunSpec: all settings that determine the result of a run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

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
    """A whole run: method, backbone, data, optimization, regularisation, training. Saved as `run.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    preset: str | None = Field(None, description="the preset this spec started from")
    method: AnyMethodSpec = BaselineSpec()
    backbone: BackboneSpec = BackboneSpec()
    data: DataSpec = DataSpec()
    optim: OptimSpec = OptimSpec()
    regularise: RegulariseSpec = RegulariseSpec()
    train: TrainSpec = TrainSpec()

    @property
    def embeds_once(self) -> bool:
        """Whether the network's embeddings of the images never change and say all that the classifier reads."""
        return self.method.behind and self.backbone.freeze == "all"

    @model_validator(mode="after")
    def _frozen_features(self) -> Self:
        if self.method.at_once and self.backbone.freeze != "all":
            raise ValueError(f"method {self.method.name} is fitted to frozen features: backbone.freeze must be all")
        if self.method.at_once and self.backbone.plain_epochs:
            raise ValueError(f"method {self.method.name} is fitted at once: backbone.plain_epochs must be 0")
        if self.backbone.views and self.backbone.freeze != "all":
            raise ValueError("backbone.views needs backbone.freeze all: else every epoch sees new views anyway")
        return self

    @model_validator(mode="after")
    def _every_stage_begins(self) -> Self:
        epochs = self.train.epochs
        last = self.method.stage_starts(epochs)[-1]
        if last >= epochs:
            raise ValueError(f"the method's last stage starts after {last} epochs: train.epochs must be larger")
        return self
