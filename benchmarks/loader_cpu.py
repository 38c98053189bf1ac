"""CPU time an image in one thread: decoders, and the ways to load.

    python -m benchmarks.loader_cpu [--rounds 8] [--images 64]

CPU time is disturbed less than rates are by what else a machine does. All sides take turns; printed are the fastest and
the slowest round. Decoders see drawn photographs of two sizes and must give the same pixels.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from fgvc_cli.bench.photographs import photographs
from fgvc_cli.bench.plain import PlainImages, PlainLoader
from fgvc_cli.data.loading.cache import Wanted, cache_in_file
from fgvc_cli.data.loading.loader import make_loader
from fgvc_cli.machine.device import keep_freed_memory
from fgvc_cli.spec.data import DataSpec

Array = np.ndarray
BATCH = 32

DECODERS: dict[str, Callable[[Array], Array]] = {
    "torchvision": lambda data: decode_image(torch.from_numpy(data), ImageReadMode.RGB).permute(1, 2, 0).numpy(),
    "opencv": lambda data: cv2.imdecode(data, cv2.IMREAD_COLOR_RGB),
    "pillow": lambda data: np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB")),
}


def timed(sides: dict[str, Callable[[], int]], rounds: int) -> None:
    """Print microseconds of CPU time an image of each side, which returns how many it did, beside the first one's."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, work in sides.items():
            started = time.process_time()
            images = work()
            if turn:  # the first warms up
                found[name].append((time.process_time() - started) / images * 1e6)
    first = min(next(iter(found.values())))
    for name, times in found.items():
        print(f"  {name:24s} {min(times):7.0f} to {max(times):7.0f} us   {first / min(times):5.2f}x", flush=True)


def decoding(files: Iterable[Path], side: int | None) -> dict[str, Callable[[], int]]:
    """Each decoder on these files, made smaller where a side is given."""
    encoded = []
    for file in files:
        image, stream = Image.open(file), io.BytesIO()
        (image.resize((side, side)) if side else image).save(stream, "JPEG", quality=95)
        encoded.append(np.frombuffer(stream.getvalue(), dtype=np.uint8).copy())
    for data in encoded:
        assert len({decode(data).tobytes() for decode in DECODERS.values()}) == 1
    return {name: lambda decode=decode: len([decode(data) for data in encoded]) for name, decode in DECODERS.items()}


def loading(folder: Path, images: int) -> dict[str, Callable[[], int]]:
    """Each way to load, without processes of its own."""
    (folder / "images").mkdir()
    index = photographs(folder / "images", images, lambda *_: None)
    spec = DataSpec(dataset="folder", resize=512, workers=0)
    wanted = Wanted.of(index, spec)
    cache = cache_in_file(wanted, folder / wanted.name(), lambda *_: None)
    ways = {
        "Pillow, v1 transforms": PlainLoader(PlainImages(index.root, index.train, spec), BATCH, 0),
        "no cache": make_loader(index, index.train, spec, batch_size=BATCH, train=True),
        "--cache disk": make_loader(index, index.train, spec, batch_size=BATCH, train=True, cache=cache),
    }
    return {name: lambda way=way: BATCH * sum(1 for _ in way.epoch(0)) for name, way in ways.items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        sides = loading(Path(name), options.images)
        files = sorted((Path(name) / "images").iterdir())[:16]
        print("decoding 500 x 400")
        timed(decoding(files, None), options.rounds)
        print("decoding 227 x 227")
        timed(decoding(files, 227), options.rounds)
        print("loading 500 x 400 to 512 to 448")
        timed(sides, options.rounds)


if __name__ == "__main__":
    main()
