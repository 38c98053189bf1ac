"""The fine-tuned backbone that every method is compared with."""

from __future__ import annotations

from typing import ClassVar, Literal

from fgvc_cli.spec.methods.base import MethodSpec


class BaselineSpec(MethodSpec):
    """Backbone, global average pooling, one linear layer, cross entropy."""

    title: ClassVar[str] = "plain fine-tuned backbone"
    paper: ClassVar[str] = "the FT-ResNet / FT-VGG row of the papers' tables"

    name: Literal["baseline"] = "baseline"
