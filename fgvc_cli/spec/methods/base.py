"""The base class of the methods' specs."""

from __future__ import annotations

from typing import ClassVar

from fgvc_cli.spec.base import Spec


class MethodSpec(Spec):
    """The settings of one method; each subclass has its own `name` (a Literal)."""

    title: ClassVar[str]
    paper: ClassVar[str]
    behind: ClassVar[bool] = False  # all that is new is one classifier behind the network's embedding
    fitted_first: ClassVar[bool] = True  # whether a recipe may begin with fitted classifiers (`backbone.probe_first`)
    at_once: ClassVar[bool] = False  # fitted at once (`BehindEmbedding.fit`), not trained epoch by epoch

    def stage_starts(self, epochs: int) -> tuple[int, ...]:
        """First epoch of each stage, for training of `epochs` epochs; each stage runs the whole schedule once."""
        return (0,)
