"""Trainings that are killed and resumed, and the same trainings never killed."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.hostile.forked import Answer, run, start, wait
from benchmarks.hostile.material import TINY, environment
from benchmarks.hostile.mutate import copied
from fgvc_cli.runs.journal import COSTS

_EVERY = "--set train.checkpoint_every=2"
WAYS = {
    "baseline, moving average": f"--method baseline --ema-decay 0.9 --mixup 0.2 {_EVERY}",
    "reaps, validation split": f"--method reaps --val-fraction 0.25 --cutmix 0.5 {_EVERY}",
    "apcnn, cache in memory": "--method apcnn --cache ram --augment trivialaugment",
    "scapnet, cache on disk": f"--method scapnet --cache disk --class-balance {_EVERY}",
    "tdsa, from the plain network": "--method tdsa --set backbone.plain_epochs=1",
    "clan, AdamW": f"--method clan --set optim.optimizer.name=adamw --erasing 0.3 {_EVERY}",
}
_ANEW = 10  # every tenth training runs in new interpreters
_IMPORTS = 4.0  # seconds that these may spend on imports
_PYTHON = 1.0  # seconds until Python has reached fgvc's first line; a signal before that is Python's to answer
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Whole:
    """A training that was never killed."""

    seconds: float
    facts: tuple[Any, ...]


def arguments(way: str, photos: Path) -> list[str]:
    """The command line of a training of three epochs."""
    data = ["--dataset", "folder", "--data-dir", str(photos), "--limit-train", "12", "--limit-test", "4"]
    return ["train", *data, *TINY, *WAYS[way].split(), "--epochs", "3", "--out", "run"]


def whole(way: str, photos: Path, folder: Path) -> Whole:
    """Train once without a signal."""
    place = folder / "whole" / way.split(",")[0] / "work"
    place.mkdir(parents=True)
    answer = run(arguments(way, photos), place, environment(place.parent / "home"), limit=300)
    if answer.code:
        raise SystemExit(f"{way}: {answer.err}")
    return Whole(answer.seconds, facts(place / "run"))


def facts(folder: Path) -> tuple[Any, ...]:
    """Weights as bytes, the table of metrics without times, and the measures on the test split."""
    rows = list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))
    for row in rows:
        for cost in COSTS:
            row.pop(cost, None)
    tensors = {key: value.numpy().tobytes() for key, value in load_file(folder / "model.safetensors").items()}
    return tensors, rows, json.loads((folder / "eval/test.json").read_text())["branches"]


def kill(seed: int, photos: Path, folder: Path, known: dict[str, Whole]) -> tuple[list[str], list[str]]:
    """Train, kill one to three times at random instants, resume to the end.

    Returns the names of the signals that met a running command, and what went wrong.
    """
    dice = random.Random(f"kill {seed}")
    way = dice.choice(list(WAYS))
    place = folder / "killed" / "work"
    shutil.rmtree(place.parent, ignore_errors=True)
    place.mkdir(parents=True)
    home, hits, wrong = environment(place.parent / "home"), list[str](), list[str]()
    anew = seed % _ANEW == 0
    command = arguments(way, copied(photos, place / "photos"))
    for _ in range(dice.choice((1, 1, 2, 3))):
        number = dice.choice(_SIGNALS)
        share = dice.random()
        delay = _PYTHON + share * (_IMPORTS + known[way].seconds) if anew else share * known[way].seconds
        answer = _signalled(command, place, home, number, delay, anew)
        if answer.code != 0:  # else it had ended before
            hits.append(number.name)
            wrong += _judged(answer, number)
        if (place / "run/run.json").exists():
            command = ["train", "--resume", "run"]
    last = run(command, place, home, limit=120)
    wrong += [f"resumed: {finding}" for finding in last.findings()]
    if last.code == 0:
        same = facts(place / "run") == known[way].facts
        wrong += [] if same else ["not the run that was never killed"]
        wrong += [f"left: {path.name}" for path in place.parent.rglob(".writing-*")]
    else:
        wrong.append(f"not resumed: {last.err.strip()}")
    return hits, wrong


def _signalled(command: list[str], place: Path, home: dict[str, str], number: int, delay: float, anew: bool) -> Answer:
    began = time.monotonic()
    child = start(command, place, home, anew=anew)
    time.sleep(delay)
    os.kill(child, number)
    return wait(child, place, 60, began)


def _judged(answer: Answer, number: signal.Signals) -> list[str]:
    """A killed command dies of the signal; an interrupted one ends with 130 and says so once, in its last line."""
    expected = -number if number == signal.SIGKILL else 130
    wrong = [] if answer.code == expected else [f"exit code {answer.code} after {number.name}"]
    if answer.code == 130:
        told = [line for line in answer.err.splitlines() if line.startswith("fgvc: ")]
        wrong += [] if len(told) == 1 and answer.err.endswith(f"{told[0]}\n") else ["not one line about the signal"]
    return wrong + [word for word in answer.findings() if not word.startswith("exit code")]
