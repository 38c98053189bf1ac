"""What is typed in the place of what a page says: small networks, and names of what lies in the folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_TINY = {"data.image_size": 32, "backbone.name": "tiny", "backbone.weights": "none", "data.resize": 36}
_MACHINE = {"data.workers": 0, "train.device": "cpu"}
_STEPS = {"train.batch_size": 6, "backbone.plain_epochs": 0}


def _sets(*tables: dict[str, object]) -> list[str]:
    return [word for table in tables for name, value in table.items() for word in ("--set", f"{name}={value}")]


_RUNS = [*_sets(_TINY, _MACHINE, _STEPS), "--epochs", "1"]
_BENCH = ["--image-size", "32", "--batch-size", "2", "--device", "cpu", "--rounds", "1"]
_STEP = [*_BENCH, "--backbone", "tiny", "--steps", "1"]
_SMALLER = {  # a command → what is added: of an option that is there twice the last one counts
    ("train",): _RUNS,
    ("train", "probe"): _sets(_TINY, _MACHINE),
    ("suite",): [*_RUNS, "--seeds", "0"],
    ("tune",): [*_RUNS, "--trials", "1"],
    ("serve",): ["--port", "0"],  # the page's own may be in use
    ("summary",): ["--backbone", "tiny", "--image-size", "32"],
    ("check-labels",): ["-n", "5"],
    ("bench", "data"): ["--workers", "0", "--image-size", "32", "--images", "24", "--rounds", "1"],
    ("bench", "train"): _STEP,
    ("bench", "infer"): _STEP,
    ("bench", "methods"): [*_STEP, "--workers", "0", "--methods", "baseline"],
}
_ROWS = {  # suites of many rows, each a process: one or two of them
    "compare": "apcnn",
    "reaps/table3": "REAPS",
    "benchmarks/suites/parts.toml": "baseline",
    "benchmarks/suites/longer.toml": "clan",
    "benchmarks/suites/scratch.toml": "cross entropy",
    "benchmarks/suites/scenes.toml": "baseline",
}
_ABOVE = "train --method baseline --dataset folder --data-dir photos --taxonomy tree.csv"
_PLACES = {  # what a page means by them → what is in the folder
    "PHOTOS": "photos",
    "ROOT": "data",
    "DATA": "data",
    "BIG": "photos",
    "CUB_200_2011": "data/CUB_200_2011",
    "/disk": "disk",
    "/shared": "shared",
}


def smaller(words: list[str], home: Path) -> list[str]:
    """The words after `fgvc`, made small and about what is in the folder."""
    words = placed(_whole(words), home)
    if "--dry-run" in words or words[:2] == ["suite", "show"]:
        return words
    if words[0] == "viz":  # a picture takes a quarter of a second
        return ["new-photos" if word.strip("/") == "photos" else word for word in words]
    kinds = [tuple(words[:2]), ("train", "probe") if "probe" in words[:3] else tuple(words[:1]), tuple(words[:1])]
    more = next((_SMALLER[kind] for kind in kinds if kind in _SMALLER), [])
    if words[0] == "train" and "demo" in words:  # its drawings take seconds
        more = [*more, "--dataset", "folder", "--data-dir", "birds"]
    if words[0] == "export" and "cub" in words[1]:  # it has fewer images than are asked for
        more = ["--images", "photos"]
    rows = ["--rows", _ROWS[words[1]]] if words[0] in ("suite", "tune") and words[1] in _ROWS else []
    return [*words, *more, *rows]


def _whole(words: list[str]) -> list[str]:
    """`…` is the settings of the command above it."""
    if words[:2] != ["train", "…"]:
        return words
    return [*shlex.split(_ABOVE), *words[2:]]


def placed(words: list[str], home: Path) -> list[str]:
    """The words with the folder's own names."""
    return [_place(word, home, new=before == "--out") for before, word in zip(["", *words], words, strict=False)]


def _place(word: str, home: Path, *, new: bool) -> str:
    if new and word == "RUN":
        return "runs/own"
    if word == "RUN" or word.startswith("RUN/"):  # the newest, as where none is named
        return f"runs/{newest(home)}{word[3:]}"
    if found := re.fullmatch(r"(runs/[\w-]+)-…(.*)", word):  # as the shell completes it
        [whole] = home.glob(f"{found[1]}-2026*")
        return f"{whole.relative_to(home)}{found[2]}"
    for name, place in _PLACES.items():
        if re.fullmatch(rf"{name}(/.*)?", word):
            return place + word[len(name) :]
    return word


def newest(home: Path) -> str:
    """The name of the run that was trained last."""
    return max((home / "runs").glob("*/run.json"), key=lambda file: file.stat().st_mtime_ns).parent.name
