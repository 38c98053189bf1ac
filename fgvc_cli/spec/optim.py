"""Optimization: optimizer, learning-rate schedule, gradient accumulation and clipping."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fgvc_cli.spec.base import Spec


class Sgd(Spec):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamW(Spec):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)


class Constant(Spec):
    """Constant learning rate (after warm-up)."""

    name: Literal["constant"] = "constant"


class Step(Spec):
    """Multiply the rate by gamma every `every` epochs: step decay, or exponential decay (0.9 every 2 epochs)."""

    name: Literal["step", "exponential"] = "step"
    every: int = Field(60, ge=1, description="epochs")
    gamma: float = Field(0.1, gt=0, le=1)


class MultiStep(Spec):
    """Multiply the rate by gamma at each milestone (epoch)."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[int, ...] = Field((150, 225), min_length=1)
    gamma: float = Field(0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)) or self.milestones[0] < 1:
            raise ValueError("milestones must be increasing epoch numbers, the first at least 1")
        return self


class Cosine(Spec):
    """Half a cosine from the learning rate down to `final` × the rate, over all epochs."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1)


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="name")]
Schedule = Annotated[Constant | Step | MultiStep | Cosine, Field(discriminator="name")]


class OptimSpec(Spec):
    """Optimizer and schedule. `lr` does not depend on the number of images per step, unless `lr_images` is given."""

    optimizer: Optimizer = Sgd()
    lr: float = Field(0.001, gt=0)
    lr_images: int | None = Field(
        None, ge=1, description="lr is for a step of this many images and scales linearly with them; none: no scaling"
    )
    weight_decay: float = Field(5e-4, ge=0)
    decay: Literal["all", "weights"] = Field(
        "all", description="weight decay of all parameters, or not of biases, norms, positions and tokens"
    )
    head_lr: float = Field(1.0, gt=0, le=1e4, description="factor of the learning rate for what is not the backbone")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="the rate of a backbone's layer is this to the power of its distance from the top"
    )
    schedule: Schedule = Cosine()
    warmup_epochs: float = Field(0.0, ge=0, description="epochs of linear warm-up from 0 to the schedule's rate")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are averaged for one optimizer step")
    clip_norm: float | None = Field(None, gt=0, description="maximum norm of the whole gradient; none: no clipping")

    def rate(self, batch_size: int) -> float:
        """The learning rate of a step of `accumulate` batches (linear scaling: https://arxiv.org/abs/1706.02677)."""
        images = batch_size * self.accumulate
        return self.lr if self.lr_images is None else self.lr * images / self.lr_images
