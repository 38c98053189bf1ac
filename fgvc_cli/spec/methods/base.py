"""What every method's spec is."""

from __future__ import annotations

from typing import ClassVar

from fgvc_cli.spec.base import Spec


class MethodSpec(Spec):
    """One method's own settings; `name` (a Literal in each subclass) tells which method."""

    title: ClassVar[str]
    paper: ClassVar[str]

    def stage_starts(self, epochs: int) -> tuple[int, ...]:
        """First epochs of the stages of a training of so many epochs; each stage runs the whole schedule once."""
        return (0,)
