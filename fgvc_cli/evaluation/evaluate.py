"""Evaluation of a method on a split, and the results that a run keeps."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fgvc_cli.data.loading.to_device import to_device
from fgvc_cli.data.splits import limit
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.certainty.detector import Seen
from fgvc_cli.evaluation.certainty.promises import Promises
from fgvc_cli.evaluation.certainty.selective import selective
from fgvc_cli.evaluation.certainty.unknown import check_unknown, measure_unknown
from fgvc_cli.evaluation.counting.measures import Measures, OfProbabilities
from fgvc_cli.evaluation.localisation import Localisation, TellingParts, mean_box
from fgvc_cli.evaluation.results import Measured, must_be_free, worst_of
from fgvc_cli.evaluation.retrieval import retrieval
from fgvc_cli.evaluation.taxonomy import ROLLUP, TaxonomyMeasures, taxonomy_of
from fgvc_cli.inference.dataset import Images, evaluation_loader
from fgvc_cli.inference.features.batches import Batches
from fgvc_cli.inference.features.shown import embedder_of, shown
from fgvc_cli.inference.look import Model
from fgvc_cli.inference.opened import Opened, open_trained
from fgvc_cli.inference.pictures import split_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.machine.compiling import Compiled, told
from fgvc_cli.machine.device import autocast
from fgvc_cli.machine.distributed import on_main, world
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console

MEAN_BOX_IMAGES = 2000


def evaluate(
    method: nn.Module,
    loader: Batches,
    spec: RunSpec,
    classes: int,
    device: torch.device,
    reporter: Reporter,
    located: Localisation | None = None,
) -> dict[str, Any]:
    """Measures of every branch over a loader's images, each image counted once.

    Returns:
        images, loss (cross entropy of the final prediction), `branches`: name → top1, top5, mean_per_class, macro_f1
        in 0..1, where `final` is the method's prediction, and `calibration` of `final`: ece (0..1). With `located`
        also `localisation`, see Localisation.compute.
    """
    measures = Measures(classes, device, located)
    run_through(method, loader, spec, device, reporter, measures)
    return measures.compute()


def run_through(
    method: nn.Module, loader: Batches, spec: RunSpec, device: torch.device, reporter: Reporter, measures: Measures
) -> None:
    """Run a method, compiled or not, once over a loader's images and count them in `measures`."""
    method.eval()  # reaches the module inside Compiled as well
    with torch.inference_mode():
        for batch in loader.epoch(0):
            fresh = isinstance(method, Compiled) and method.fresh
            with told(fresh, "the network", reporter):
                batch = to_device(batch, device, *spec.data.normalisation)
                with autocast(device, spec.train.precision):
                    output = method(batch.images, evidence=measures.need_evidence)
                measures.update(output, batch)
                reporter.advance(len(batch.labels))


def evaluate_run(
    run: RunFolder, request: EvalRequest, console: Console, index: DatasetIndex | None = None
) -> dict[str, Any]:
    """Evaluate a run's selected model on one of its splits or on new photos and store the result in its eval/ folder.

    The run's data are read unless `index` already holds them. Returns what `Measured.save` does.
    """
    measured = measure_run(run, request, console, index)
    return on_main(lambda: measured.save(run))


def measure_run(run: RunFolder, request: EvalRequest, console: Console, index: DatasetIndex | None = None) -> Measured:
    """Evaluate a run's selected model on one of its splits; nothing is written."""
    opened = open_trained(run, request, console, index)
    trained, spec, device = opened.trained, opened.spec, opened.device
    images = opened.images
    must_be_free(run, images.named)
    located = _localisation(images, spec, device) if _locates(opened, request) else None
    promises = Promises.of(run, trained, request, device)
    tree = taxonomy_of(run, trained.classes, request.taxonomy, images.index.taxonomy)
    more = dict(promises.measures) | tree_measures(tree, request, device)
    reporter = Reporter(console)
    if request.unknown is not None:
        _check_unknown(run, opened, request, reporter)
    as_images = located is not None or not spec.embeds_once
    keep = request.unknown is not None and as_images and world().size == 1
    measures = Measures(len(trained.classes), device, located, trained.temperature, more, keep=keep)
    method, loader = shown(run, opened, images.index, images.split, reporter, as_images=located is not None)
    method = Compiled(method) if request.compile else method
    reporter.begin(f"evaluating on {images.name}", len(loader))
    try:
        run_through(method, loader, spec, device, reporter, measures)
    finally:
        reporter.end()
    about = {"run": str(run.path), "split": images.name, "method": spec.method.name, "epoch": trained.epoch}
    about |= {"dataset": images.index.name, "classes": len(trained.classes), **images.facts}
    result, counts, predicted = {**about, **measures.compute()}, measures.branches.counts(), measures.predictions.read()
    result |= selective(predicted, promises.target)
    if _retrieves(opened, request):
        result["retrieval"] = _retrieval(run, opened, images, reporter)
    if request.unknown is not None:
        result["unknown"] = _unknown(run, opened, request, measures, reporter)
    worst = worst_of(trained.classes, counts, predicted)
    return Measured(result | worst, images.split, trained.classes, counts, predicted, tree)


def tree_measures(tree: Taxonomy | None, request: EvalRequest, device: torch.device) -> dict[str, OfProbabilities]:
    """Measures by the tree of the classes, if there is one. BadRequest if they are asked for, and there is none."""
    if tree is None:
        if request.rollup is not None:
            raise BadRequest("--rollup needs a tree of the classes: name it with --taxonomy FILE")
        return {}
    return {"taxonomy": TaxonomyMeasures(tree, request.rollup or ROLLUP, device)}


def _locates(opened: Opened, request: EvalRequest) -> bool:
    """Whether boxes and maps are measured: where no image needs to be shown otherwise, only on request."""
    if request.localisation is not None:
        return request.localisation
    return not opened.spec.embeds_once


def _retrieves(opened: Opened, request: EvalRequest) -> bool:
    """Whether retrieval is measured: where the embeddings are kept, else only on request, as images are shown again."""
    if request.retrieval is not None:
        return request.retrieval
    return opened.spec.embeds_once


def _retrieval(run: RunFolder, opened: Opened, images: Images, reporter: Reporter) -> dict[str, float]:
    embedder = embedder_of(run, opened)
    embeddings = embedder.embed(split_pictures(images.index, images.split, images.index.classes), reporter)
    labels = torch.from_numpy(images.split.labels)
    return on_main(lambda: retrieval(embeddings, labels))


def _check_unknown(run: RunFolder, opened: Opened, request: EvalRequest, reporter: Reporter) -> None:
    """Raise BadRequest now rather than after the pass over the split."""
    images, what = opened.images, request.unknown or ""
    if images.named.new is not None:
        raise BadRequest("--unknown: leave --data-dir out; the known images are those of the run's own split")
    model = _model(run, opened, request)
    on_main(lambda: check_unknown(model, images.index, images.name, what, reporter))


def _unknown(
    run: RunFolder, opened: Opened, request: EvalRequest, measures: Measures, reporter: Reporter
) -> dict[str, Any]:
    images, what, model = opened.images, request.unknown or "", _model(run, opened, request)
    known = Seen.joined(measures.kept) if measures.kept else None
    return on_main(lambda: measure_unknown(model, images.index, images.split, images.name, what, reporter, known=known))


def _model(run: RunFolder, opened: Opened, request: EvalRequest) -> Model:
    return Model(run.model_file, opened.trained, opened.spec, opened.device, request)


def _localisation(images: Images, spec: RunSpec, device: torch.device) -> Localisation | None:
    """Measures of boxes and maps; None if true boxes are not known.

    The mean training box, their baseline, is that of at most MEAN_BOX_IMAGES images spread over the classes. New photos
    come without training images, so they have no such baseline.
    """
    index, split = images.index, images.split
    if split.boxes is None:
        return None
    if images.named.new is not None:
        return Localisation(None)
    sample = evaluation_loader(index, limit(index.train, MEAN_BOX_IMAGES), spec, device, shared=False)
    return Localisation(mean_box(sample.epoch(0), device), TellingParts.of(index, split, device))
