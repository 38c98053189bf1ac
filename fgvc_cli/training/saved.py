"""The form of a training run's state in a checkpoint."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fgvc_cli.runs.schema import Count, Number


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True, frozen=True)


class SavedPosition(_Part):
    """How far training has come."""

    epoch: Count
    batch: Count
    step: Count


class SavedAverages(_Part):
    """Sums of an epoch's losses."""

    totals: dict[str, Number]
    pending: dict[str, Tensor]
    images: Count


class SavedRank(_Part):
    """What each process has for itself."""

    random: dict[str, Tensor]
    averages: SavedAverages


class SavedOptimizer(_Part):
    """The state of the optimizer: by parameter, and the settings of each group."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class SavedState(_Part):
    """Everything in a checkpoint. The session compares the parts of PyTorch's objects with its own objects."""

    position: SavedPosition
    method: dict[str, Tensor]
    optimizer: SavedOptimizer
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Tensor] | None
    ranks: Annotated[list[SavedRank], Field(min_length=1)]
    best: Number | None
    stale: Count
    threads: Annotated[int, Field(ge=1, le=4096)]
