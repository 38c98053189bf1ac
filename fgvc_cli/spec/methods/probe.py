"""A classifier on the frozen features of a trained network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fgvc_cli.spec.methods.base import MethodSpec

Strength = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]


class ProbeSpec(MethodSpec):
    """Frozen backbone, its features computed once, and a classifier that is fitted to them at once."""

    title: ClassVar[str] = "classifier on frozen features: minutes without a GPU"
    paper: ClassVar[str] = "none: logistic regression, nearest neighbours or nearest class mean"
    behind: ClassVar[bool] = True
    at_once: ClassVar[bool] = True

    name: Literal["probe"] = "probe"
    head: Literal["linear", "knn", "prototype"] = Field(
        "linear",
        description="linear: multinomial logistic regression; knn: nearest training images by cosine; prototype: "
        "nearest class mean",
    )
    scaling: Literal["none", "standard", "l2", "sqrt"] = Field(
        "none",
        description="of the features before the head: none; standard: mean 0, deviation 1; l2: length 1; sqrt: signed "
        "square root. With none and standard, a linear or prototype head has exact class activation maps",
    )
    strengths: tuple[Strength, ...] = Field(
        (0.001, 0.01, 0.1, 1.0, 10.0, 100.0),
        min_length=1,
        max_length=32,
        description="linear: scikit-learn's C, one of which is chosen: the larger, the weaker the penalty",
    )
    folds: int = Field(
        3,
        ge=2,
        le=20,
        description="linear: folds of the training images that choose where there is no validation split",
    )
    neighbours: int = Field(10, ge=1, le=10_000, description="knn: training images that vote")
    temperature: Strength = Field(
        0.07, description="knn: a neighbour of cosine s votes with the weight exp(s / temperature)"
    )
    shrink: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        0.0,
        description="prototype: threshold by which each class's mean is moved to the mean of all (nearest shrunken "
        "centroids)",
    )
