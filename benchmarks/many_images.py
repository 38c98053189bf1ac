"""Predicts many small images: one process, two, tars, and two of which one is killed and the command repeated.

python -m benchmarks.many_images RUN [--images 100000] [--alone 20000] [--batch 64]

Draws JPEGs of 64 x 64 pixels into folders of 1,000 and, the same ones, into tars of 10,000. Each row: the images, the
seconds of the whole command with the start of its processes, and the memory of its largest process. Checks that every
output has one row for each image, in order.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER, TAR = 1_000, 10_000  # images
_TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def draw(home: Path, count: int) -> None:
    """`count` images in home/folders and in home/tars."""
    dice = np.random.default_rng(0)
    (home / "tars").mkdir()
    archive = None
    for place in range(count):
        file = home / f"folders/{place // FOLDER:03d}/{place:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = dice.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(file, quality=85)
        if place % TAR == 0:
            if archive is not None:
                archive.close()
            archive = tarfile.open(home / f"tars/{place // TAR:03d}.tar", "w")  # noqa: SIM115
        assert archive is not None
        archive.add(file, file.name)
    if archive is not None:
        archive.close()


def run(command: list[str], output: Path, kill_at: int | None = None) -> tuple[float, float]:
    """Seconds and MiB of the largest process. `kill_at`: kill one process once so many bytes of rows are kept."""
    start, most = time.monotonic(), 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            time.sleep(0.2)
            workers = _children(process.pid) or [process.pid]
            most = max(most, *map(_peak, workers))
            kept = sum(log.stat().st_size for log in output.parent.glob(f"{output.name}.unfinished/*.rows"))
            if kill_at is not None and kept >= kill_at and len(workers) == 2:
                os.kill(workers[1], signal.SIGKILL)
                kill_at = None
        assert process.stderr is not None
        told = process.stderr.read()
    if process.returncode not in (0, 1):
        raise SystemExit(told)
    return time.monotonic() - start, most / 1024


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak(pid: int) -> int:
    """KiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def check(output: Path, names: list[str]) -> None:
    """Exit unless the output has one row for each image, in order."""
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(output)
    right = found["image"].to_pylist() == names and not any(found["error"].to_pylist())
    if not right or (output.parent / f"{output.name}.unfinished").exists():
        raise SystemExit(f"{output} is wrong")


def main() -> None:
    """Draw, predict in each way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--alone", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        draw(home, asked.images)
        files = sorted(map(str, (home / "folders").rglob("*.jpg")))
        members = [f"{home}/tars/{place // TAR:03d}.tar/{Path(file).name}" for place, file in enumerate(files)]
        output = home / "a.parquet"
        end = ["--model", str(asked.run), "--top", "1", "--batch-size", str(asked.batch), "--output", str(output)]
        predict = ["-m", "fgvc_cli", "predict"]

        def row(title: str, count: int, seconds: float, memory: float) -> None:
            print(f"| {title} | {count:,} | {seconds:.0f} | {count / seconds:.0f} | {memory:.0f} |", flush=True)

        print("| | images | s | images/s | MiB of a process |\n|---|---|---|---|---|", flush=True)
        few = sorted({str(Path(file).parent) for file in files[: asked.alone]})
        row("one process, folders", asked.alone, *run([*predict, *few, *end], output))
        check(output, files[: asked.alone])
        row("two processes, folders", asked.images, *run([*_TORCHRUN, *predict, str(home / "folders"), *end], output))
        check(output, files)
        row("two processes, tars", asked.images, *run([*_TORCHRUN, *predict, str(home / "tars"), *end], output))
        check(output, members)
        command = [*_TORCHRUN, *predict, str(home / "folders"), *end]
        first = run(command, output, kill_at=40 * asked.images)  # about half of the rows
        second = run(command, output)
        seconds, memory = first[0] + second[0], max(first[1], second[1])
        row("the same, one killed (kill -9) half-way, repeated", asked.images, seconds, memory)
        check(output, files)


if __name__ == "__main__":
    main()
