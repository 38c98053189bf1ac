"""Training: length, device, precision, checkpoints."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from fgvc_cli.spec.base import Spec

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:([0-9]|[1-9][0-9]))?")


class TrainSpec(Spec):
    """Settings of the training loop."""

    epochs: int = Field(100, ge=1, le=100_000)
    batch_size: int = Field(16, ge=1)
    eval_batch_size: int | None = Field(None, ge=1, description="none: batch_size")
    device: str = Field("auto", description="auto, cpu, mps, cuda or cuda:N")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(0, ge=0, lt=2**32)
    compile: bool = Field(
        False,
        description="torch.compile the training step and validation: slower start, then faster",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay per step of a moving average of the weights, which is evaluated and saved; none: off",
    )
    class_balance: bool = Field(
        False, description="sample every class equally often in an epoch, however many images it has"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after this many epochs without a better val_top1; none: never"
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads; none: PyTorch's choice, recorded in the run"
    )
    deterministic: bool = Field(
        False, description="on CUDA: use deterministic kernels where they exist, and no cuDNN benchmark; slower"
    )
    tf32: bool = Field(True, description="on CUDA: fp32 products on tensor cores, factors rounded to 10-bit mantissas")
    log_every: int = Field(20, ge=1, description="steps between readings of the loss")
    checkpoint_every: int | None = Field(
        None, ge=1, description="also save a checkpoint every this many steps; none: only after each epoch"
    )
    keep_checkpoints: int = Field(1, ge=1)
    gradient_checkpointing: bool = Field(
        False,
        description="recompute the backbone's activations in the backward pass: "
        "about half the memory, a third more time, the same result",
    )
    sync_batchnorm: bool = Field(
        False, description="several processes on GPUs: BatchNorm uses the statistics of the images of all processes"
    )
    track: Literal["wandb", "mlflow", "trackio"] | None = Field(
        None,
        description="also record the run in this experiment tracker (docs/tracking.md); none: only in its folder",
    )
    timeout_minutes: float = Field(
        30.0,
        gt=0,
        le=100_000,
        description="several processes: minutes that one waits for the others before the run fails",
    )

    @field_validator("track", mode="before")
    @classmethod
    def _none(cls, track: object) -> object:
        return None if track == "none" else track

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError("must be auto, cpu, mps, cuda or cuda:N")
        return device
