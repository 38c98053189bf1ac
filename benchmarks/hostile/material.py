"""Sound inputs, made once, of which the soak damages copies."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.hostile.forked import run, start, wait
from fgvc_cli.backbones import build_backbone
from tests.data import small_archives, trees
from tests.making import mk

_TINY = "--backbone tiny --weights none --device cpu --image-size 32 --batch-size 4 --workers 0"
TINY = [*_TINY.split(), "--set", "train.threads=1"]
FORMATS = {
    "png": {},
    "jpg": {"progressive": True},
    "webp": {},
    "gif": {},
    "tiff": {"compression": "tiff_lzw"},
    "bmp": {},
}
TABLES = {
    "cub": small_archives.write_cub,
    "cars": small_archives.write_cars_devkit,
    "aircraft": small_archives.write_aircraft,
    **{name: trees.WRITERS[name] for name in ("flowers", "vegfru", "pets", "food101", "inat2021", "nabirds")},
}


@dataclass(frozen=True)
class Material:
    """Folders and files that stay as they are."""

    photos: Path  # an image folder of two classes
    runs: tuple[Path, ...]  # finished, and stopped after an epoch
    weights: tuple[Path, ...]
    images: tuple[Path, ...]
    archives: tuple[Path, ...]
    tables: Mapping[str, Path]  # dataset → its home
    specs: tuple[dict[str, object], ...]  # resolved specs as trees


def environment(home: Path) -> dict[str, str]:
    """Variables that keep what a command writes for the user inside `home`."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TORCH_HOME": str(home / "torch"),
        "FGVC_DATA_DIR": str(home / "data"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
    }


def make(folder: Path) -> Material:
    """Make everything below `folder`."""
    photos = folder / "photos"
    mk(photos, "robin=8", "wren=8")
    runs = (_finished(folder, photos), _stopped(folder, photos))
    return Material(
        photos=photos,
        runs=runs,
        weights=_weights(folder, runs[0]),
        images=_images(folder / "images"),
        archives=_archives(folder),
        tables={name: _table(folder / "tables" / name, write) for name, write in TABLES.items()},
        specs=tuple(json.loads((run / "run.json").read_text()) for run in runs),
    )


def _table(home: Path, write: object) -> Path:
    home.mkdir(parents=True)
    written: Path = write(home)  # type: ignore[operator]
    return written if written.name in ("cars",) else home


def _train(photos: Path, out: str, method: str) -> list[str]:
    data = ["--dataset", "folder", "--data-dir", str(photos), "--val-fraction", "0.25"]
    return ["train", "--method", method, *data, *TINY, "--epochs", "2", "--ema-decay", "0.9", "--out", out]


def _finished(folder: Path, photos: Path) -> Path:
    place = _place(folder / "finished")
    for command in (_train(photos, "run", "reaps"), ["report", "run"]):
        answer = run(command, place, environment(folder / "home"), limit=300)
        assert answer.code == 0, answer.err
    return place / "run"


def _stopped(folder: Path, photos: Path) -> Path:
    place = _place(folder / "stopped")
    child, began = start(_train(photos, "run", "apcnn"), place, environment(folder / "home")), time.monotonic()
    while not list((place / "run/checkpoints").glob("[0-9]*")):
        time.sleep(0.002)
    os.kill(child, signal.SIGTERM)
    wait(child, place, 300, began)
    return place / "run"


def _place(folder: Path) -> Path:
    (folder / "work").mkdir(parents=True)
    return folder / "work"


def _weights(folder: Path, run: Path) -> tuple[Path, ...]:
    state = build_backbone("tiny").trunk.state_dict()
    plain, nested = folder / "plain.pth", folder / "nested.pth"
    torch.save(state, plain)
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, nested)
    return plain, nested, run / "model.safetensors"


def _images(folder: Path) -> tuple[Path, ...]:
    folder.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (24, 40, 3)).astype(np.uint8)
    kinds = dict(FORMATS)
    if "avif" in Image.registered_extensions().get(".avif", "").lower():
        kinds["avif"] = {}
    for ending, options in kinds.items():
        Image.fromarray(pixels).save(folder / f"one.{ending}", **options)
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    frames[0].save(folder / "two.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "cmyk.jpg")
    return tuple(sorted(folder.iterdir()))


def _archives(folder: Path) -> tuple[Path, ...]:
    home = folder / "packed"
    home.mkdir()
    root = small_archives.write_cub(home)
    made = []
    for ending, mode in (("tgz", "w:gz"), ("tar", "w")):
        made.append(folder / f"CUB_200_2011.{ending}")
        with tarfile.open(made[-1], mode) as archive:
            archive.add(root, root.name)
    return tuple(made)


def tar_bytes(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """An uncompressed tar of these members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
