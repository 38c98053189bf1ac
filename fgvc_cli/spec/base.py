"""The base class of all specs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from fgvc_cli.values import brief

_LARGEST = 1e30  # of a number with a fraction: well inside float32, in which it may be used
_LARGEST_WHOLE = 2**53 - 1  # every JSON reader has it exactly


class Spec(BaseModel):
    """Base of all specs: frozen after validation; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _computable(cls, value: Any) -> Any:
        """The value, unless it is a number that cannot be computed with."""
        for number in value if isinstance(value, tuple) else (value,):
            largest = _LARGEST if isinstance(number, float) else _LARGEST_WHOLE
            if isinstance(number, int | float) and abs(number) > largest:
                raise ValueError(f"must be at most {largest:g} (got {brief(number)})")
        return value
