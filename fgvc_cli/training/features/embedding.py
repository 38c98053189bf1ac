"""What training does with the embeddings of a network that does not change: compute them once, and start from them."""

from __future__ import annotations

import torch

from fgvc_cli.data.loading.loader import Loader
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.inference.features.batches import Batches, EmbeddedBatches
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.features.shown import embedded
from fgvc_cli.inference.pictures import split_pictures
from fgvc_cli.machine.distributed import on_main
from fgvc_cli.methods.base import Labelled, behind_embedding
from fgvc_cli.progress import Reporter
from fgvc_cli.training.learner import Learner


def labelled(embedder: Embedder, index: DatasetIndex, split: Split, reporter: Reporter, *, views: int = 0) -> Labelled:
    """The embeddings of a split, on the embedder's device: as in evaluation, then of `views` augmented views."""
    pictures = split_pictures(index, split, index.classes)
    found = [embedder.embed(pictures, reporter, view=view) for view in range(views + 1)]
    labels = torch.from_numpy(split.labels).repeat(views + 1)
    return Labelled(torch.cat(found).to(embedder.device), labels.to(embedder.device), views + 1)


def with_embeddings(
    learner: Learner, index: DatasetIndex, loaders: tuple[Loader, Loader | None], reporter: Reporter, *, start: bool
) -> tuple[Batches, Batches | None]:
    """The loaders of train and val, of embeddings where the network is frozen and only a classifier is trained.

    Args:
        learner: at its start.
        index: the run's data.
        loaders: of images, for train and val.
        reporter: shows the progress.
        start: whether the run begins here, so that the classifier may be fitted first (`backbone.probe_first`).
    """
    spec, method = learner.spec, learner.method
    learner.embedded = spec.embeds_once and not spec.regularise.mixes
    fits = start and spec.backbone.probe_first and method.spec.behind
    if not learner.embedded and not fits:
        return loaders
    embedder = Embedder.of(method, spec, learner.device)
    train = labelled(embedder, index, index.train, reporter, views=spec.backbone.views)
    val = None if index.val is None else labelled(embedder, index, index.val, reporter)
    if fits:
        with torch.no_grad():
            on_main(lambda: behind_embedding(method).fit(train, val, reporter.line))
    if not learner.embedded:
        return loaders
    views = train.embeddings.cpu().chunk(train.views)
    plain = train.as_evaluated.labels.cpu()
    return (
        EmbeddedBatches(views, plain, loaders[0].plan),
        None if val is None else embedded(val.embeddings.cpu(), val.labels.cpu()),
    )
