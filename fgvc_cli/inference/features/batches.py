"""Batches of embeddings in the place of images: order and labels are those of a loader of the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fgvc_cli.data.loading.loader import Loader
from fgvc_cli.data.loading.order import BatchOrder
from fgvc_cli.data.loading.transforms import mix
from fgvc_cli.data.types import Batch


class EmbeddedBatches:
    """Batches of a split whose images are embeddings (B, D), epoch by epoch. `len` is the number in an epoch.

    Args:
        views: embeddings (N, D) of the split's images, one tensor for each view; training draws one for each image.
        labels: (N,) int64.
        plan: the images of each batch.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, views: Sequence[Tensor], labels: Tensor, plan: BatchOrder) -> None:
        self._views = torch.stack(list(views))  # (V, N, D)
        self._labels = labels
        self._plan = plan

    def __len__(self) -> int:
        return len(self._plan)

    @property
    def batch_images(self) -> int:
        """Number of images in a batch, over all processes."""
        return min(self._plan.batch_size, len(self._labels))

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Batches of an epoch, from `start_batch` on."""
        self._plan.epoch, self._plan.start = epoch, start_batch
        for keys in self._plan:
            rows = torch.tensor([row for _, row in keys])
            view = torch.from_numpy(np.array([self._view(*key) for key in keys]))
            affine = torch.eye(2, 3).expand(len(rows), 2, 3)
            yield Batch(self._views[view, rows], self._labels[rows], rows, affine)

    def _view(self, epoch: int, position: int) -> int:
        return mix(self._plan.seed, epoch, position) % len(self._views) if self._plan.train else 0


Batches = Loader | EmbeddedBatches  # whatever gives the batches of a split
