"""Very many images: what an index of them costs, and that their order is exact. The slow one has a million.

`python -m tests.data.datasets.test_million folder PHOTOS` (or `csv TABLE`) prints what
docs/datasets.md says of an index.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.splits import apply_spec
from tests.data.small_archives import spec_of, write_image

SPLITS = {"test_fraction": 0.01, "val_fraction": 0.01}


def write_many(root: Path, classes: int, each: int) -> Path:
    """PHOTOS/class_00007/3.png and a table of them; one image a class, the others are further names of it."""
    write_image(root / "seed.png", 8, 8)
    pixels = (root / "seed.png").read_bytes()
    with (root / "table.csv").open("w") as table:
        table.write("path,label\n")
        for k in range(classes):
            folder = root / "photos" / f"class_{k:05d}"
            folder.mkdir(parents=True)
            (folder / "0.png").write_bytes(pixels)
            for i in range(1, each):
                os.link(folder / "0.png", folder / f"{i}.png")
            table.writelines(f"photos/class_{k:05d}/{i}.png,class {k}\n" for i in range(each))
    return root


def measure(dataset: str, root: Path) -> dict[str, float]:
    """What it takes to find the images and draw the splits."""
    before, wall, processor = _peak(), time.perf_counter(), time.process_time()
    spec = spec_of(dataset, root, **SPLITS)
    index = apply_spec(load_index(spec), spec)
    return {
        "images": sum(map(len, index.splits().values())),
        "classes": len(index.classes),
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_mib": _peak(),
        "added_mib": _peak() - before,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check_order(dataset: str, root: Path, batch: int, resumes: int) -> None:
    """A shuffled epoch that is resumed goes on with the images that would have come, and leaves none out."""
    spec = spec_of(dataset, root, **SPLITS)
    index = apply_spec(load_index(spec), spec)
    loader = make_loader(index, index.train, spec, batch_size=batch, train=True, seed=3)
    plans = {epoch: _planned(loader, epoch) for epoch in (0, 1)}
    for plan in plans.values():
        assert len(np.unique(plan)) == len(plan) == len(loader) * batch
        assert plan.min() >= 0
        assert plan.max() < len(index.train)
        # Neighbours in the split are far apart: a local shuffle is none.
        assert np.median(np.abs(np.diff(plan))) > 0.2 * len(index.train)
    assert (plans[0] != plans[1]).mean() > 0.99
    for start in np.linspace(0, len(loader) - 2, resumes).astype(int).tolist():
        again = make_loader(index, index.train, spec, batch_size=batch, train=True, seed=3)
        for i, found in zip((start, start + 1), again.epoch(1, start), strict=False):
            assert found.index.tolist() == plans[1][i * batch : (i + 1) * batch].tolist()
            assert found.labels.tolist() == index.train.labels[found.index].tolist()


def _planned(loader, epoch: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The positions of all images of an epoch, without reading one."""
    loader.plan.epoch, loader.plan.start = epoch, 0
    return np.array([position for keys in loader.plan for _, position in keys])


@pytest.mark.parametrize(("dataset", "source"), [("folder", "photos"), ("csv", "table.csv")])
def test_thousands_of_images(tmp_path: Path, dataset: str, source: str) -> None:
    write_many(tmp_path, 500, 20)
    found = measure(dataset, tmp_path / source)
    assert (found["images"], found["classes"]) == (10_000, 500)
    assert found["processor_seconds"] < 3  # measured: 0.05 to 0.1
    check_order(dataset, tmp_path / source, 16, 5)


@pytest.mark.slow
def test_a_million_images(tmp_path: Path) -> None:
    write_many(tmp_path, 10_000, 100)
    for dataset, source in (("folder", "photos"), ("csv", "table.csv")):
        command = [sys.executable, "-m", "tests.data.datasets.test_million", dataset, str(tmp_path / source)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert (found["images"], found["classes"]) == (1_000_000, 10_000)
        assert found["processor_seconds"] < 10, found
        assert found["added_mib"] < 500, found
        assert found["peak_mib"] < 1000, found
        check_order(dataset, tmp_path / source, 64, 5)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
