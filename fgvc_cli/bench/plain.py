"""The usual way to load images, as a baseline: Pillow, torchvision's v1 transforms to float, a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fgvc_cli.data.images.read import open_image
from fgvc_cli.data.types import Split
from fgvc_cli.spec.data import DataSpec, Fit


class PlainImages(Dataset[tuple[Tensor, int]]):
    """A split's images, resized, randomly cropped, flipped, rotated, normalised: (3, S, S) float32 and the label."""

    def __init__(self, root: Path, split: Split, spec: DataSpec) -> None:
        self.paths = [root / file for file in split.files]
        self.labels = split.labels.tolist()
        self.max_pixels = spec.max_pixels
        steps = [
            _resize(spec.fit, spec.resize_side),
            transforms.RandomCrop(spec.side, padding=spec.padding or None),
            transforms.RandomHorizontalFlip(0.5 if spec.flip else 0.0),
            *([transforms.RandomRotation(spec.rotation)] if spec.rotation else []),
            transforms.ToTensor(),
            transforms.Normalize(*spec.normalisation),
        ]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        with self.paths[position].open("rb") as stream, open_image(stream, self.max_pixels) as image:
            return self.transform(image.convert("RGB")), self.labels[position]


def _resize(fit: Fit, side: int) -> Callable[[Image.Image], Image.Image]:
    if fit == "pad":
        return partial(ImageOps.pad, size=(side, side))
    resize: Callable[[Image.Image], Image.Image] = transforms.Resize(side if fit == "crop" else (side, side))
    return resize


class PlainLoader:
    """Shuffled batches of PlainImages, by worker processes that live as long as the loader."""

    def __init__(self, images: PlainImages, batch_size: int, workers: int, *, pin_memory: bool = False) -> None:
        self._batches = DataLoader(
            images,
            batch_size,
            shuffle=True,
            drop_last=len(images) > batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
        )

    def epoch(self, _: int) -> Iterator[Tensor]:
        """The images of each batch."""
        return (images for images, _ in self._batches)
