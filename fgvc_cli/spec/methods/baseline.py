"""The fine-tuned backbone that every method is compared with."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from fgvc_cli.spec.methods.base import MethodSpec


class BaselineSpec(MethodSpec):
    """Backbone, the pooling of the network's own classifier, one linear layer, cross entropy."""

    title: ClassVar[str] = "plain fine-tuned backbone"
    behind: ClassVar[bool] = True
    paper: ClassVar[str] = "the FT-ResNet / FT-VGG row of the papers' tables"

    name: Literal["baseline"] = "baseline"
    pool: Literal["network", "average"] = Field(
        "average",
        description="network: what the network's own classifier reads, so that this is that network; average: the "
        "average of the top map. The same for residual networks",
    )
