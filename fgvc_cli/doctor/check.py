"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Check:
    """One line about one thing."""

    name: str
    state: State  # note: all that is needed works, but something could be better; broken: something needed does not
    text: str

    def as_json(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)
