"""Memory of a loader and its processes, by their number, with and without a cache.

    python -m benchmarks.loader_memory [--images 256] [--size 448] [--batch 32]

Each case runs in a process of its own over drawn photographs and tells, in the middle of its second epoch, the memory
that it and its workers take beside files that the system could drop: private pages, and shared ones counted once. The
same before there was a loader is subtracted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from fgvc_cli.bench.photographs import photographs
from fgvc_cli.data.loading.cache import Wanted, cache_in_file
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.machine.device import keep_freed_memory
from fgvc_cli.spec.data import DataSpec

CASES = [(cache, workers) for cache in ("off", "disk") for workers in (1, 2, 4, 8)]


def taken() -> float:
    """MiB of this process and its children: anonymous and shared memory, each page counted once."""
    total = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += int(line.split()[1])
    return total / 1024


def measure(folder: Path, cache: str, workers: int, size: int, batch: int) -> float:
    """MiB that a loader adds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    files = sorted(path.name for path in (folder / "images").iterdir())
    split = Split(tuple(files), torch.zeros(len(files), dtype=torch.int64).numpy())
    index = DatasetIndex("folder", folder / "images", ("a", "b"), split, split)
    spec = DataSpec(dataset="folder", image_size=size, resize=size * 8 // 7, workers=workers)
    before = taken()
    wanted = Wanted.of(index, spec)
    kept = cache_in_file(wanted, folder / wanted.name(), lambda *_: None) if cache == "disk" else None
    loader = make_loader(index, split, spec, batch_size=batch, train=True, cache=kept)
    for _ in loader.epoch(0):
        pass
    for number, _ in enumerate(loader.epoch(1)):
        if number == len(loader) // 2:
            return taken() - before
    raise AssertionError


def main() -> None:
    """Each case in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        folder, cache, workers = options.case
        print(json.dumps(measure(Path(folder), cache, int(workers), options.size, options.batch)))
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        photographs(Path(folder) / "images", options.images, lambda *_: None)
        for cache, workers in CASES:
            command = [sys.executable, "-m", "benchmarks.loader_memory", *sys.argv[1:], "--case", folder, cache]
            found = subprocess.run([*command, str(workers)], check=True, capture_output=True, text=True).stdout
            print(f"cache {cache:4s}  --workers {workers}  {json.loads(found):7.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
