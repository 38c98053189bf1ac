"""What every part of a run spec is: frozen, closed to unknown keys, finite numbers only."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of all specs. Unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
