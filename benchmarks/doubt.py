"""What a model's doubts are worth on photographs: unknown classes, promised coverage, wrong labels, taxa.

python -m benchmarks.doubt unknown ROOT [--methods probe,baseline] [--draws 3] [--epochs 6] [--out FOLDER]
    20 classes of CUB left out; Stanford Cars as far unknowns. A repeated command with the same FOLDER goes on
python -m benchmarks.doubt small ROOT [--draws 30]
    the default score of small folders: six classes of CUB known, two left out, cars far
python -m benchmarks.doubt promises ROOT
    prediction sets and wanted precision on five random splits of CUB
python -m benchmarks.doubt folds ROOT
    the same without a validation split, by folds of the training images: each head, CUB and Stanford Cars
python -m benchmarks.doubt labels ROOT
    5 % of CUB's training labels flipped
python -m benchmarks.doubt taxa ROOT
    makes and models of Stanford Cars

ROOT is the folder of the datasets. EfficientNet-Lite0 at 224 pixels; a fifth of the training images is the validation
split, which chooses thresholds and the default score.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from benchmarks.parts import index_of, table_of
from fgvc_cli.errors import BadRequest
from fgvc_cli.evaluation.certainty.detector import SCORES
from fgvc_cli.evaluation.certainty.unknown import measure_unknown
from fgvc_cli.evaluation.evaluate import evaluate_run
from fgvc_cli.evaluation.labels.judging import by_folds
from fgvc_cli.evaluation.labels.ranking import WAYS, Judged, ranked
from fgvc_cli.files import write_json
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.look import open_model
from fgvc_cli.inference.pictures import split_pictures
from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import Machine, resume, train

NETWORK = "timm:tf_efficientnet_lite0"
LEFT_OUT, FLIPPED = 20, 0.05
QUIET = Console(file=io.StringIO())


def spec_of(method: str, dataset: str, root: Path, *sets: str) -> RunSpec:
    """A probe on frozen features, or another method by the preset light-folder."""
    flags = {"data.root": str(root), "backbone.name": NETWORK}
    every = ["data.val_fraction=0.2", "data.duplicates=off", *sets]  # the last one of a field counts
    if method == "probe":
        return build_spec(method=method, dataset=dataset, flags=flags, sets=every)
    return build_spec(preset="light-folder", method=method, dataset=dataset, flags=flags, sets=every)


def trained(spec: RunSpec, folder: Path) -> RunFolder:
    """The run, trained, or trained to its end where it was begun before."""
    if folder.exists():
        resume(folder, Machine(), QUIET)
    else:
        train(spec, folder, QUIET)
    return RunFolder(folder)


def measured(run: RunFolder, **request: Any) -> dict[str, Any]:
    """The run's test split."""
    return evaluate_run(run, EvalRequest("test", localisation=False, retrieval=False, **request), QUIET)


def several(values: Sequence[float]) -> str:
    """Mean and standard deviation in per cent."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=min(1, len(values) - 1)):.1f}"


def unknown(root: Path, methods: Sequence[str], draws: int, epochs: int, folder: Path) -> None:
    """Scores of unknown images: classes left out, and cars."""
    cars = next(root.glob("stanford_cars/cars_test*"))
    for method in methods:
        found = []
        for draw in range(draws):
            place = folder / f"{method}-epochs{epochs}-draw{draw}"
            answers = place.with_suffix(".json")
            if not answers.exists():
                sets = [f"data.leave_out={LEFT_OUT}", f"data.split_seed={draw}"]
                sets += [] if method == "probe" else [f"train.epochs={epochs}", f"train.seed={draw}"]
                run = trained(spec_of(method, "cub", root, *sets), place)
                write_json(answers, told_apart(run, {"near": "left-out", "far": str(cars)}))
            found.append(json.loads(answers.read_text()))
            top, default = found[-1]["top1"], found[-1]["near"]["default"]
            print(f"{method}, draw {draw}: top-1 {100 * top:.1f} %; default {default}", flush=True)
        for score in found[0]["near"]["scores"]:
            cells = [several([one["near"]["scores"][score]["validation"] for one in found])] + [
                several([one[kind]["scores"][score][key] for one in found])
                for kind in ("near", "far")
                for key in ("auroc", "fpr95", "open_set_accuracy")
            ]
            print(f"| {method} | {score} | {' | '.join(cells)} |", flush=True)


def small(root: Path, draws: int, folder: Path) -> None:
    """How good the default score of --unknown is where few validation images choose it."""
    index, cars = index_of(root), next(root.glob("stanford_cars/cars_test*"))
    found: dict[str, list[list[float]]] = {}
    for draw in range(draws):
        classes = np.random.RandomState(draw).permutation(len(index.classes))[:8]
        answers = folder / f"small{draw}.json"
        if not answers.exists():
            table = table_of(index, classes.tolist(), folder / f"small{draw}.csv")
            spec = spec_of("probe", "csv", table, "data.leave_out=2", f"data.split_seed={draw}")
            run = trained(spec, folder / f"small{draw}")
            write_json(answers, told_apart(run, {"near": "left-out", "far": str(cars)}))
        apart = json.loads(answers.read_text())
        near, far = apart["near"]["scores"], apart["far"]["scores"]
        taken = {"default": apart["near"]["default"]} | {f"always {name}": name for name in SCORES}
        for rule, score in taken.items():
            cells = [one[score][key] for one in (near, far) for key in ("auroc", "open_set_accuracy")]
            found.setdefault(rule, []).append(cells)
        print(f"draw {draw}: default {taken['default']}", flush=True)
    for rule, rows in found.items():
        print(f"| {rule} | {' | '.join(map(several, zip(*rows, strict=True)))} |", flush=True)


def told_apart(run: RunFolder, kinds: Mapping[str, str]) -> dict[str, Any]:
    """How a run tells its test images from unknown ones of each kind, and the accuracy that its training ended with."""
    model, reporter = open_model(run.path, EvalRequest("test")), Reporter(QUIET)
    shown = model.open_images(QUIET)
    found: dict[str, Any] = {
        kind: measure_unknown(model, shown.index, shown.split, shown.name, what, reporter)
        for kind, what in kinds.items()
    }
    return found | {"top1": run.evaluation("test")["branches"]["final"]["top1"]}


def promises(root: Path, folder: Path) -> None:
    """Coverage of prediction sets and precision of answers on five random splits."""
    for asked in (0.9, 0.95):
        rows = []
        for seed in range(5):
            place = folder / f"split{seed}"
            spec = spec_of("probe", "cub", root, f"data.split_seed={seed}")
            run = RunFolder(place) if place.exists() else trained(spec, place)
            found = measured(run, set_coverage=asked, target_precision=asked + 0.04)
            rows.append((found["sets"], found["target"]))
        coverage = ", ".join(f"{100 * sets['coverage']:.1f}" for sets, _ in rows)
        precision = ", ".join(f"{100 * target['precision']:.1f}" for _, target in rows)
        sizes = several([sets["mean_size"] / 100 for sets, _ in rows])
        print(f"sets for {asked:.0%}: coverage {coverage} %; mean size {sizes} classes", flush=True)
        answered = several([target["coverage"] for _, target in rows])
        print(f"precision {asked + 0.04:.0%}: {precision} %; answered {answered} % of the images", flush=True)


def folds(root: Path, folder: Path) -> None:
    """Coverage of prediction sets and precision of answers of probes without a validation split."""
    for dataset in ("cub", "cars"):
        for head in ("linear", "knn", "prototype"):
            sets = ("data.val_fraction=0", f"method.head={head}")
            run = trained(spec_of("probe", dataset, root, *sets), folder / f"{dataset}-{head}")
            for asked in (0.9, 0.95):
                found = measured(run, set_coverage=asked)
                line = f"| {dataset} | {head} | {100 * found['branches']['final']['top1']:.1f} | {asked:.0%} | "
                errors = found["calibration"]
                line += f"{100 * errors['ece']:.1f} → {100 * errors['ece_calibrated']:.1f} | "
                line += f"{100 * found['sets']['coverage']:.1f}, {found['sets']['mean_size']:.1f} classes | "
                try:
                    target = measured(run, target_precision=asked + 0.04)["target"]
                    line += f"{100 * target['precision']:.1f}, {100 * target['coverage']:.1f} answered |"
                except BadRequest as error:
                    line += f"{error} |"
                print(line, flush=True)


def labels(root: Path, folder: Path) -> None:
    """Precision at 50 and 150 and average precision of flipped labels."""
    run = trained(spec_of("probe", "cub", root), folder / "features")
    index = index_of(root)
    reporter, classes = Reporter(QUIET), len(index.classes)
    pictures = split_pictures(index, index.train, index.classes)
    embeddings = Embedder.of_model(open_model(run.path)).embed(pictures, reporter)
    truth = torch.from_numpy(index.train.labels)
    shares = by_folds(embeddings, truth, classes, 5, reporter)
    shares = shares.scatter(1, truth[:, None], 0.0)
    confused = torch.zeros(classes, classes).index_add_(0, truth, shares).argmax(1)
    for kind in ("random", "most confused"):
        found: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
        for draw in range(3):
            dice = np.random.RandomState(draw)
            rows = dice.permutation(len(truth))[: round(FLIPPED * len(truth))]
            given = truth.clone()
            other = torch.from_numpy((truth[rows].numpy() + dice.randint(1, classes, len(rows))) % classes)
            given[rows] = other if kind == "random" else confused[truth[rows]]
            judged = Judged(given, by_folds(embeddings, given, classes, 5, reporter), embeddings)
            for way in WAYS:
                wrong = np.isin(ranked(judged, {}, way).rows, rows)
                found[way].append((wrong[:50].mean(), wrong[:150].mean(), average_precision(wrong)))
        for way, values in found.items():
            print(f"| {kind} | {way} | {' | '.join(map(several, zip(*values, strict=True)))} |", flush=True)


def average_precision(wrong: np.ndarray) -> float:
    """Of a ranking: the mean over wrong labels of the precision up to each."""
    places = np.flatnonzero(wrong) + 1
    return float(np.mean(rankdata(places) / places))


def taxa(root: Path, folder: Path) -> None:
    """Severity and rollup on cars."""
    run = trained(spec_of("probe", "cars", root), folder / "cars")
    for least in (0.5, 0.8, 0.9, 0.95):
        found = measured(run, rollup=least)["taxonomy"]
        rolled = found["rollup"]
        at = ", ".join(f"{name} {100 * share:.1f} %" for name, share in found["accuracy"].items())
        by = ", ".join(f"{name} {100 * share:.1f}" for name, share in rolled["levels"].items())
        print(
            f"| {least:.0%} | {100 * rolled['coverage']:.1f} ({by}) | {100 * rolled['precision']:.1f} | "
            f"{100 * rolled['promised']:.1f} | {rolled['specificity']:.2f} |  accuracy {at}; severity "
            f"{found['severity']:.2f} of {found['height']}",
            flush=True,
        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["unknown", "small", "promises", "folds", "labels", "taxa"])
    parser.add_argument("root", type=Path)
    parser.add_argument("--methods", default="probe,baseline")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.out or Path(name)
        if chosen.what == "unknown":
            unknown(chosen.root, chosen.methods.split(","), chosen.draws, chosen.epochs, folder)
        elif chosen.what == "small":
            small(chosen.root, chosen.draws, folder)
        else:
            {"promises": promises, "folds": folds, "labels": labels, "taxa": taxa}[chosen.what](chosen.root, folder)


if __name__ == "__main__":
    main()
