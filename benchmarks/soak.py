"""Attacks the command line for an hour: mutated inputs of every kind, and trainings killed at random instants.

python -m benchmarks.soak [--kills 200] [--inputs 10000] [--seed 0] [--out figures.json]
python -m benchmarks.soak --only "weights:123"      one input again, with all it printed

Each input is made from its kind and its number, so that a finding can be repeated. Commands run in forked children with
limits of memory and time, in a folder of their own, beside files that none of them may touch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.hostile.forked import Answer, preload, run
from benchmarks.hostile.inputs import KINDS
from benchmarks.hostile.kills import WAYS, kill, whole
from benchmarks.hostile.material import Material, environment, make

SHARES = {"specs": 0.3, "run folders": 0.2, "weights": 0.1, "tables": 0.15, "images": 0.15, "archives": 0.1}
_CANARY = "nobody may change this"


def attack(kind: str, seed: int, folder: Path, sound: Material) -> tuple[list[str], Answer, list[str]]:
    """Give one mutated input to one command; returns the command, its answer and what it did wrong."""
    base = folder / "attacked"
    shutil.rmtree(base, ignore_errors=True)
    for name in ("work", "outside", "home"):
        (base / name).mkdir(parents=True)
    (base / "outside/canary").write_text(_CANARY)
    request = KINDS[kind](random.Random(f"{kind} {seed}"), base / "work", sound)
    before = _stamps(sound)
    answer = run(request.arguments, base / "work", environment(base / "home"), stdin=request.stdin)
    outside = [path.name for path in (base / "outside").iterdir()]
    touched = outside != ["canary"] or (base / "outside/canary").read_text() != _CANARY or _stamps(sound) != before
    strays = {path.name for path in base.iterdir()} - {"work", "outside", "home", "IN", "OUT", "ERR"}
    left = [*base.rglob(".writing-*"), *base.rglob("*.partial")]
    return (
        request.arguments,
        answer,
        [
            *answer.findings(),
            *(["wrote outside of its folder"] if touched or strays else []),
            *(["left a temporary file"] if left and answer.code is not None else []),
        ],
    )


def _stamps(sound: Material) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the sound files."""
    paths = [sound.photos, *sound.runs, *sound.weights, *sound.images, *sound.archives]
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def inputs(
    count: int, seed: int, folder: Path, sound: Material, deadline: float, first: int = 0
) -> dict[str, Counter[str]]:
    """Attack with `count` inputs, without the `first` of them, shared out over the kinds; prints what goes wrong."""
    tables: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    kinds = list(KINDS)
    order = random.Random(seed).choices(kinds, [SHARES[kind] for kind in kinds], k=count)
    for number, kind in list(enumerate(order, seed))[first:]:
        if time.monotonic() > deadline:
            break
        command, answer, wrong = attack(kind, number, folder, sound)
        table = tables[kind]
        table["inputs"] += 1
        table[{0: "done", 1: "failed", 2: "refused"}.get(answer.code if answer.code is not None else -1, "other")] += 1
        table["seconds"] += answer.seconds  # type: ignore[assignment]
        table["slowest, s"] = max(table["slowest, s"], round(answer.seconds, 1))  # type: ignore[assignment]
        table.update(wrong)
        for finding in wrong:
            print(f"{kind}:{number}: {finding}: fgvc {' '.join(command)[:200]}", flush=True)
    return tables


def kills(count: int, seed: int, folder: Path, sound: Material, deadline: float) -> Counter[str]:
    """Kill and resume `count` trainings; prints what goes wrong."""
    known = {way: whole(way, sound.photos, folder) for way in WAYS}
    table: Counter[str] = Counter()
    for number in range(seed, seed + count):
        if time.monotonic() > deadline:
            break
        hits, wrong = kill(number, sound.photos, folder, known)
        table.update(["trainings", *hits], killed=bool(hits), equal=not wrong)
        for finding in wrong:
            print(f"kill:{number}: {finding}", flush=True)
    return table


def repeat(only: str, folder: Path, sound: Material) -> None:
    """One input again, with all it printed."""
    kind, _, number = only.rpartition(":")
    command, answer, wrong = attack(kind, int(number), folder, sound)
    print(f"fgvc {' '.join(command)}\nexit code {answer.code}, {answer.seconds:.1f} s, {wrong}")
    print(answer.out[-2000:], answer.err[-6000:], sep="\n", file=sys.stderr)


def main() -> None:
    """Parse the command line, attack, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="leave out so many inputs, which ran before")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600, help="stop after this time")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="repeat one input")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    preload()
    deadline = time.monotonic() + 60 * chosen.minutes
    folder = Path(tempfile.mkdtemp(prefix="soak-"))  # a TemporaryDirectory would be removed by every child at its exit
    try:
        sound = make(folder)
        if chosen.only:
            repeat(chosen.only, folder, sound)
            return
        figures: dict[str, Counter[str]] = {}
        if chosen.kills:
            figures["kills"] = kills(chosen.kills, chosen.seed, folder, sound, deadline)
        if chosen.inputs:
            figures |= inputs(chosen.inputs, chosen.seed, folder, sound, deadline, chosen.first)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(figures, indent=2)
    print(text)
    if chosen.out:
        chosen.out.write_text(text)


if __name__ == "__main__":
    main()
