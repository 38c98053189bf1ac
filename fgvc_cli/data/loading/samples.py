"""The images of a split, one by one: read from files or taken from a cache, transformed, ready for a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from fgvc_cli.data.images.read import ImageError, read_image
from fgvc_cli.data.loading.cache import Cache
from fgvc_cli.data.loading.light.window import copy_window
from fgvc_cli.data.loading.transforms import finish, generator_of, geometry_of, transform
from fgvc_cli.data.types import Batch, Split
from fgvc_cli.spec.data import DataSpec

_ADVICE = "replace it with a readable image and continue with --resume, or start again with --on-bad-image skip"
Key = tuple[int, int]  # epoch, position in the split


@dataclass(frozen=True)
class Sample:
    """One image, ready for a batch."""

    image: Tensor  # (3, S, S) uint8
    label: int
    index: int
    to_original: Tensor  # (2, 3) float32
    box: Tensor | None  # (4,) float32


class ImageDataset(Dataset[Sample | ImageError]):
    """The images of a split. `dataset[epoch, position]` is a Sample, or an ImageError if the file is unreadable.

    The error is returned and not raised: PyTorch would add the worker process's traceback to its message. If `cache`
    are given, images are taken from them and not from their files.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        spec: DataSpec,
        *,
        train: bool,
        seed: int = 0,
        cut_bottom: int = 0,
        cache: Cache | None = None,
    ) -> None:
        self.root = str(root)
        self.split = split
        self.spec = spec
        self.train = train
        self.seed = seed
        self.cut_bottom = cut_bottom
        self.cache = None if cache is None else cache.of(split)
        self._files = Names(split.files)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: Key) -> Sample | ImageError:
        position = key[1]
        try:
            pixels, to_original, box = self._of_file(key) if self.cache is None else self._of_cache(key)
        except ImageError as error:
            return ImageError(f"{error}; {_ADVICE}") if self.train else error
        return Sample(pixels, int(self.split.labels[position]), position, to_original, box)

    def generator(self, key: Key) -> torch.Generator | None:
        """The random generator of an image in an epoch; None in evaluation."""
        return generator_of(self.seed, *key) if self.train else None

    def box(self, position: int) -> NDArray[np.float32] | None:
        """The box of an image, (4,), in the image's own pixels."""
        return None if self.split.boxes is None else self.split.boxes[position]

    def _of_file(self, key: Key) -> tuple[Tensor, Tensor, Tensor | None]:
        image = read_image(f"{self.root}/{self._files[key[1]]}", self.spec.max_pixels)
        generator, box = self.generator(key), self.box(key[1])
        return transform(image, self.spec, box=box, cut_bottom=self.cut_bottom, generator=generator)

    def _of_cache(self, key: Key) -> tuple[Tensor, Tensor, Tensor | None]:
        assert self.cache is not None
        generator = self.generator(key)
        geometry = geometry_of(*self.cache.size(key[1]), self.spec, generator)
        window = np.empty((geometry.size, geometry.size, 3), dtype=np.uint8)
        copy_window(self.cache.image(key[1]), geometry, window)
        pixels = torch.from_numpy(window).permute(2, 0, 1)
        return finish(pixels, geometry, self.spec, box=self.box(key[1]), generator=generator)


class Names:
    """Many names in one block of memory.

    Reading a list of strings changes the strings' reference counts. So each forked worker process would end up with a
    copy of the memory of a long list.
    """

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __getitem__(self, position: int) -> str:
        start = self._ends[position - 1] if position else 0
        return os.fsdecode(self._bytes[start : self._ends[position]].tobytes())


def collate(samples: list[Sample | ImageError]) -> Batch | ImageError:
    """The batch of these samples, or the first error among them. Images are in channels-last memory format."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, ImageError):
            return sample
        good.append(sample)
    boxes = [sample.box for sample in good if sample.box is not None]
    return Batch(
        # In a worker process, default_collate stacks directly into memory shared with the main process.
        images=default_collate([sample.image.permute(1, 2, 0) for sample in good]).permute(0, 3, 1, 2),
        labels=torch.tensor([sample.label for sample in good]),
        index=torch.tensor([sample.index for sample in good]),
        to_original=torch.stack([sample.to_original for sample in good]),
        boxes=torch.stack(boxes) if boxes else None,
    )
