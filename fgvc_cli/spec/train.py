"""How long, on what, and how exactly a run trains."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from fgvc_cli.spec.base import Spec

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class TrainSpec(Spec):
    """The engine's settings."""

    epochs: int = Field(100, ge=1, le=100_000)
    batch_size: int = Field(16, ge=1)
    eval_batch_size: int | None = Field(None, ge=1, description="none: batch_size")
    device: str = Field("auto", description="auto, cpu, mps, cuda or cuda:N")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(0, ge=0, lt=2**32)
    compile: bool = Field(
        False,
        description="torch.compile the training step and the held-out part's measuring: slow to start, then faster",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="measure and keep a moving average of the weights, a step old one × this; none: off",
    )
    class_balance: bool = Field(False, description="draw every class equally often in an epoch, whatever its images")
    patience: int | None = Field(
        None, ge=1, description="stop after this many epochs without a better held-out top-1; none: never"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; none: PyTorch's choice, recorded in the run")
    deterministic: bool = Field(
        False, description="on CUDA: only deterministic kernels where they exist, none chosen by trying; slower"
    )
    tf32: bool = Field(True, description="on CUDA: fp32 products on tensor cores, factors rounded to 10 bits")
    log_every: int = Field(20, ge=1, description="steps between readings of the loss")
    checkpoint_every: int | None = Field(None, ge=1, description="also every this many steps; none: each epoch")
    keep_checkpoints: int = Field(1, ge=1)
    gradient_checkpointing: bool = Field(
        False,
        description="keep less of the backbone for the backward pass, which computes it again: "
        "about half the memory, a third more time, the same result",
    )
    sync_batchnorm: bool = Field(
        False, description="of several processes on GPUs, BatchNorm normalises with the statistics of all their images"
    )
    timeout_minutes: float = Field(
        30.0, gt=0, description="of several processes, how long one waits for the others before the run fails"
    )

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError("must be auto, cpu, mps, cuda or cuda:N")
        return device
