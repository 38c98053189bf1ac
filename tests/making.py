"""Small folders of images for tests: `mk(folder, "robin=6", "wren=6")`; a method on a backbone."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fgvc_cli.backbones import build_backbone
from fgvc_cli.methods import METHODS
from fgvc_cli.methods.base import Method
from fgvc_cli.spec.methods.base import MethodSpec

SMALL = {  # networks of each family, as small as timm has them → image side in pixels
    "resnet50": 64,
    "vgg16_bn": 64,
    "timm:tf_efficientnet_lite0": 64,
    "timm:mobilenetv4_conv_small": 64,
    "timm:convnext_atto": 64,
    "timm:regnety_002": 64,
    "timm:swin_tiny_patch4_window7_224": 224,
    "timm:vit_tiny_patch16_224": 64,
    "timm:vit_small_patch16_dinov3": 64,
    "timm:vit_base_patch16_siglip_224": 64,
}


def mk(folder: Path, *classes: str) -> None:
    """For each "NAME=N", write N noise JPEGs of 80 × 60 pixels into folder/NAME, seeded by folder and name."""
    for text in classes:
        name, _, count = text.rpartition("=")
        for i in range(int(count)):
            noise_jpeg(folder / name / f"{i}.jpg", seed=f"{folder.name}/{name}/{i}")


def noise_jpeg(path: Path, seed: str | None = None) -> Path:
    """One noise JPEG of 80 × 60 pixels, seeded by a text; without one, by the file's name."""
    words = zlib.crc32((path.name if seed is None else seed).encode("utf-8", "surrogateescape"))
    pixels = np.random.RandomState(words).randint(0, 256, (60, 80, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="JPEG")
    return path


def method_on(backbone: str, spec: MethodSpec, num_classes: int = 5, image_size: int = 64) -> Method:
    """A method on a randomly initialised backbone, built as for a run."""
    kind = METHODS[type(spec)]
    return kind(spec, build_backbone(backbone, embedding=kind.reads_embedding(spec)), num_classes, image_size)
