"""What a trained method is run on: a split's images, or their embeddings where those say everything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fgvc_cli.data.loading.order import BatchOrder
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.inference.dataset import evaluation_loader
from fgvc_cli.inference.features.batches import Batches, EmbeddedBatches
from fgvc_cli.inference.features.embedder import Embedder, weights_key
from fgvc_cli.inference.opened import Opened
from fgvc_cli.inference.pictures import split_pictures
from fgvc_cli.machine.distributed import world
from fgvc_cli.methods.base import Behind
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.checkpoint import load_model
from fgvc_cli.runs.folder import RunFolder

_BATCH = 1024  # embeddings


def embedded(embeddings: Tensor, labels: Tensor, *, shared: bool = True) -> EmbeddedBatches:
    """The embeddings (N, D) of a split in order, in batches; `shared`: divided among the run's processes."""
    here = world()
    shard = (here.rank, here.size) if shared else (0, 1)
    return EmbeddedBatches([embeddings], labels, BatchOrder(len(labels), _BATCH, train=False, seed=0, shard=shard))


def embedder_of(run: RunFolder, opened: Opened) -> Embedder:
    """The embedder of a run's opened model."""
    method = opened.trained.method
    return Embedder(method, opened.spec, opened.device, weights_key(load_model(run.model_file)[0], method))


def shown(
    run: RunFolder,
    opened: Opened,
    index: DatasetIndex,
    split: Split,
    reporter: Reporter,
    *,
    shared: bool = True,
    as_images: bool = False,
) -> tuple[nn.Module, Batches]:
    """A run's method and the batches to run it on: of embeddings where `embeds_once`, else of images.

    With `shared` the images are divided among the run's processes, else each process gets all. `as_images`: images
    anyway, as evidence needs.
    """
    method = opened.trained.method
    if as_images or not opened.spec.embeds_once:
        return method, evaluation_loader(index, split, opened.spec, opened.device, shared=shared)
    embeddings = embedder_of(run, opened).embed(split_pictures(index, split, index.classes), reporter, shared=shared)
    return Behind(method).eval(), embedded(embeddings, torch.from_numpy(split.labels), shared=shared)
