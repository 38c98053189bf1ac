"""What every method's spec is."""

from __future__ import annotations

from typing import ClassVar

from fgvc_cli.spec.base import Spec


class MethodSpec(Spec):
    """One method's own settings; `name` (a Literal in each subclass) tells which method."""

    title: ClassVar[str]
    paper: ClassVar[str]
