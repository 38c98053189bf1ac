"""What frozen features cost and what they are worth, on real photographs.

python -m benchmarks.frozen_features phases ROOT [--dataset cub]       from an empty folder to an evaluated run, twice
python -m benchmarks.frozen_features heads ROOT [--networks lite0,lite1]  every head; scikit-learn beside them
python -m benchmarks.frozen_features enroll ROOT                       ten classes learnt from five images each
python -m benchmarks.frozen_features rates ROOT [--networks lite0,lite1,resnet50]  beside the network on ready pixels
python -m benchmarks.frozen_features search [--images 1000000]         nearest neighbours in bounded memory

ROOT is the folder of the datasets. The test split chooses nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.trained_methods import table_of
from fgvc_cli.backbones import resolved
from fgvc_cli.data.datasets import load_index
from fgvc_cli.inference.features.embedder import Embedder
from fgvc_cli.inference.loaded import load_pictures
from fgvc_cli.inference.pictures import Picture, split_pictures
from fgvc_cli.machine.device import prepare_device
from fgvc_cli.machine.memory import share_one_heap
from fgvc_cli.methods import build_method
from fgvc_cli.methods.base import behind_embedding
from fgvc_cli.ops.vectors.neighbours import nearest
from fgvc_cli.progress import Reporter
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.build import build_spec
from fgvc_cli.terminal import Console
from fgvc_cli.training.features.enrollment import enroll
from fgvc_cli.training.train import train

NETWORKS = {f"lite{number}": f"timm:tf_efficientnet_lite{number}" for number in range(3)}
HEADS = {
    "linear": [],
    "linear, square roots": ["method.scaling=sqrt"],
    "knn": ["method.head=knn"],
    "prototype": ["method.head=prototype"],
}
NEW, SHOTS, DRAWS = 10, 5, 3
TURNS, _BATCH = 5, 32  # batches are those of an embedder


def quiet() -> Console:
    """A console that keeps what is printed."""
    return Console(file=io.StringIO(), width=300)


def phases(chosen: argparse.Namespace) -> None:
    """The command that a newcomer types, in new processes: an empty cache, then the same features again."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
        for name in ("first run", "second run on the same features"):
            out = Path(folder) / name.partition(" ")[0]
            command = [sys.executable, "-m", "fgvc_cli", "train", "--method", "probe", "--dataset", chosen.dataset]
            command += ["--data-dir", str(chosen.root), "--out", str(out)]
            started = time.monotonic()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            seconds = time.monotonic() - started
            result = json.loads((out / "eval/test.json").read_text())
            lines = [
                line for line in done.stderr.splitlines() if line.startswith(("features of", "strength", "fitted"))
            ]
            print(f"{name}: {seconds:.0f} s, top-1 {100 * result['branches']['final']['top1']:.2f} %")
            print(*(f"  {line}" for line in lines), sep="\n", flush=True)


def probe(root: Path, dataset: str, network: str, out: Path, sets: list[str]) -> tuple[dict[str, Any], float]:
    """The result on the test split, and the seconds."""
    flags = {"data.root": str(root), "backbone.name": NETWORKS[network]}
    started = time.monotonic()
    result = train(build_spec(method="probe", dataset=dataset, flags=flags, sets=sets), out, quiet())
    return result, time.monotonic() - started


def heads(chosen: argparse.Namespace) -> None:
    """Every head on every network and dataset; scikit-learn's regression at the same strength on the same features."""
    from sklearn.linear_model import LogisticRegression

    with tempfile.TemporaryDirectory() as folder:
        for dataset in chosen.datasets.split(","):
            for network in chosen.networks.split(","):
                for number, (head, sets) in enumerate(HEADS.items()):
                    out = Path(folder) / f"{dataset}-{network}-{number}"
                    result, seconds = probe(chosen.root, dataset, network, out, sets)
                    top1 = 100 * result["branches"]["final"]["top1"]
                    print(f"{dataset} {network} {head}: top-1 {top1:.2f} %, {seconds:.0f} s", flush=True)
                parts = features_of(chosen.root, dataset, network)
                for strength in (0.1, 1.0, 10.0):
                    theirs = LogisticRegression(C=strength, max_iter=20_000, tol=1e-7).fit(*parts[0])
                    out = Path(folder) / f"{dataset}-{network}-C{strength:g}"
                    ours, _ = probe(chosen.root, dataset, network, out, [f"method.strengths=[{strength}]"])
                    print(
                        f"{dataset} {network} C={strength:g}: {100 * ours['branches']['final']['top1']:.2f} %, "
                        f"scikit-learn {100 * theirs.score(*parts[1]):.2f} %",
                        flush=True,
                    )


def features_of(root: Path, dataset: str, network: str) -> list[tuple[np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    """Features and labels of the training and the test split."""
    flags = {"data.root": str(root), "backbone.name": NETWORKS[network]}
    spec = resolved(build_spec(method="probe", dataset=dataset, flags=flags))
    index = load_index(spec.data)
    method, _ = build_method(spec, len(index.classes))
    embedder = Embedder.of(method.eval(), spec, torch.device("cpu"))
    splits = (index.train, index.test)
    found = [embedder.embed(split_pictures(index, split, index.classes), Reporter(quiet())) for split in splits]
    return [(values.numpy(), split.labels) for values, split in zip(found, splits, strict=True)]


def enrolled(chosen: argparse.Namespace) -> None:
    """Leave ten classes out, learn them from five images each; top-1 on old and on new classes, three draws."""
    spec = build_spec(method="probe", dataset="cub", flags={"data.root": str(chosen.root)})
    index = load_index(spec.data)
    for draw in range(DRAWS):
        dice = random.Random(draw)
        new = sorted(dice.sample(range(len(index.classes)), NEW))
        for head in ("prototype", "knn"):
            with tempfile.TemporaryDirectory() as folder:
                run = _without(index, new, Path(folder), head, chosen)
                before = _accuracy(run, index, new)
                for label in new:
                    files = [f for f, own in zip(index.train.files, index.train.labels, strict=True) if own == label]
                    pictures = [Picture(name, index.root / name) for name in dice.sample(files, SHOTS)]
                    enroll(run, index.classes[label], pictures, Reporter(quiet()))
                after = _accuracy(run, index, new)
            print(
                f"draw {draw}, {head}: old classes {before[0]:.2f} % before, {after[0]:.2f} % after; "
                f"new classes {after[1]:.2f} % after",
                flush=True,
            )


def rates(chosen: argparse.Namespace) -> None:
    """Features of files beside the same network on ready pixels, in turns: milliseconds an image."""
    share_one_heap()  # as `fgvc` does at its start
    with tempfile.TemporaryDirectory() as folder:
        for network in chosen.networks.split(","):
            flags = {"data.root": str(chosen.root), "backbone.name": NETWORKS.get(network, network)}
            spec = resolved(build_spec(method="probe", dataset=chosen.dataset, flags=flags))
            index = load_index(spec.data)
            method, _ = build_method(spec, len(index.classes), load_weights=False)
            embedder = Embedder.of(method.eval(), spec, prepare_device(spec.train))
            pictures = split_pictures(index, index.train, index.classes)[: chosen.pictures]
            ready = [loaded.batch for loaded in load_pictures(pictures, spec.data, _BATCH)]
            found = []
            for turn in range(TURNS + 1):
                os.environ["XDG_CACHE_HOME"] = f"{folder}/{network}{turn}"
                fresh = replace(embedder)  # its store is that of the new folder
                started = time.monotonic()
                fresh.embed(pictures, Reporter(quiet()))
                middle = time.monotonic()
                for batch in ready:
                    embedder._vectors(batch)
                found.append((middle - started, time.monotonic() - middle))
            whole, alone = (1000 * np.array(found[1:]).T / len(pictures)).tolist()  # the first turn warms up
            print(f"{network}, {spec.data.side} pixels: features {np.median(whole):.1f} ms, ", end="")
            print(f"network {np.median(alone):.1f} ms; of its rate", *np.divide(alone, whole).round(2), flush=True)


def _without(index: Any, new: list[int], folder: Path, head: str, chosen: argparse.Namespace) -> RunFolder:
    """A run that has not seen the new classes, from a table of the others' images."""
    old = sorted(set(range(len(index.classes))) - set(new))
    table = table_of(index, old, folder / "table.csv")
    sets = [f"method.head={head}", f"backbone.name={NETWORKS['lite0']}", "data.duplicates=off"]
    train(
        build_spec(method="probe", dataset="csv", flags={"data.root": str(table)}, sets=sets), folder / "run", quiet()
    )
    return RunFolder(folder / "run")


def _accuracy(run: RunFolder, index: Any, new: list[int]) -> tuple[float, float]:
    """Top-1 in percent on the test images of old and of new classes."""
    from fgvc_cli.inference.trained import load_trained

    trained = load_trained(run.model_file)
    embedder = Embedder.of(trained.method, trained.spec, torch.device("cpu"))
    embeddings = embedder.embed(split_pictures(index, index.test, index.classes), Reporter(quiet()))
    answers = [
        trained.classes[label]
        for label in behind_embedding(trained.method).classify(embeddings).logits.argmax(1).tolist()
    ]
    right: dict[bool, list[bool]] = {True: [], False: []}
    for answer, label in zip(answers, index.test.labels, strict=True):
        right[int(label) in new].append(answer == index.classes[label])
    return 100 * float(np.mean(right[False])), 100 * float(np.mean(right[True]))


def search(chosen: argparse.Namespace) -> None:
    """Nearest neighbours among synthetic vectors in a memory-mapped file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        vectors = np.lib.format.open_memmap(file, "w+", np.float32, (chosen.images, chosen.width))
        dice = np.random.default_rng(0)
        for start in range(0, chosen.images, 50_000):
            vectors[start : start + 50_000] = dice.standard_normal(vectors[start : start + 50_000].shape, np.float32)
        vectors.flush()
        gallery = torch.from_numpy(np.load(file, mmap_mode="c"))
        queries = torch.randn(chosen.queries, chosen.width, generator=torch.Generator().manual_seed(0))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        nearest(queries, gallery, 10)
        seconds = time.monotonic() - started
        anonymous = Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]
        print(
            f"{chosen.images} × {chosen.width}, {chosen.queries} queries: {seconds:.2f} s, memory of its own "
            f"{int(anonymous) / 1024:.0f} MiB (peak with the mapped file: {before / 1024:.0f} MiB before)"
        )


def main() -> None:
    """Parse the command line and run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["phases", "heads", "enroll", "rates", "search"])
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--dataset", default="cub")
    parser.add_argument("--datasets", default="cub,cars")
    parser.add_argument("--networks", default="lite0,lite1")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    chosen = parser.parse_args()
    if chosen.root is None and chosen.what != "search":
        parser.error("ROOT: the folder of the datasets")
    {"phases": phases, "heads": heads, "enroll": enrolled, "rates": rates, "search": search}[chosen.what](chosen)


if __name__ == "__main__":
    main()
