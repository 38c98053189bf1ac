"""A batch of one picture that a model "looked at", its evidence made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.data.loading.transforms import transform
from fgvc_cli.data.types import Batch
from fgvc_cli.inference.look import Seen
from fgvc_cli.inference.pictures import Picture
from fgvc_cli.methods.base import Boxes, Evidence, Output
from fgvc_cli.spec.data import DataSpec
from fgvc_cli.viz.scene import Looked, Options, Scene

CLASSES = ("crow", "finch", "wren")
GREY = 128


def picture(height: int = 37, width: int = 61) -> Tensor:
    return torch.full((3, height, width), GREY, dtype=torch.uint8)


def looked(
    evidence: Evidence,
    original: Tensor | None = None,
    logits: tuple[float, ...] = (0.0, 2.0, 1.0),
    spec: DataSpec | None = None,
    box: tuple[float, ...] | None = None,
    **options: Any,
) -> Looked:
    """By default 61 x 37 grey pixels, squeezed to 40 x 40 of which the middle 32 x 32 are the network's input."""
    original = picture() if original is None else original
    pixels, affine, _ = transform(original, spec or DataSpec(image_size=32, resize=40))
    batch = Batch(pixels[None].float(), torch.tensor([1]), torch.tensor([0]), affine[None])
    answers = torch.tensor([logits])
    seen = Seen(
        (Picture("bird.png", Path("bird.png"), 1, None if box is None else np.array(box, np.float32)),),
        (original,),
        ((original.shape[1], original.shape[2]),),
        batch,
        Output(answers, {"final": answers}, {}, evidence),
        answers.softmax(1),
    )
    model = SimpleNamespace(classes=CLASSES, name="run")
    return Looked(model, seen, Options(**options))  # type: ignore[arg-type]


def scene(evidence: Evidence, side: float = math.sqrt(610 * 370), **more: Any) -> Scene:
    """Drawn ten times as large as the picture is."""
    return Scene(looked(evidence, **more), 0, side)


def boxes(*xyxy: tuple[float, ...], kind: str = "region", valid: bool = True) -> Boxes:
    scores = torch.linspace(0.9, 0.5, len(xyxy))[None]
    return Boxes(
        torch.tensor([xyxy], dtype=torch.float32), scores, torch.full_like(scores, valid, dtype=torch.bool), kind
    )


def whole(side: float = 32) -> Tensor:
    return torch.tensor([[0.0, 0, side, side]])
