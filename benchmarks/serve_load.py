"""How `fgvc serve` bears many requests: time of each answer, alone and 16 at a time, and how many are lost.

python -m benchmarks.serve_load RUN PHOTOS [ROUNDS]

RUN is a run folder or a model file, PHOTOS a folder with at least 200 photos, of which each round sends 200. Every
photo is sent with another ending, so that none is answered from memory. Both ways are measured in turns.
"""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

REQUESTS, AT_ONCE, ALONE = 200, 16, 50


def start(run: str) -> tuple[subprocess.Popen[str], str]:
    """The server and its address."""
    words = [sys.executable, "-m", "fgvc_cli", "serve", run, "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


class Sender:
    """Sends photos and counts what comes back."""

    def __init__(self, server: subprocess.Popen[str], address: str) -> None:
        self.server, self.address = server, address
        self.pool = urllib3.PoolManager(maxsize=AT_ONCE, retries=False, timeout=300)
        self.statuses: Counter[int] = Counter()

    def send(self, photo: bytes) -> float:
        """Seconds until the answer; a refusal (429) is sent again, within the same time."""
        body, started = photo + secrets.token_bytes(8), time.perf_counter()
        while True:
            given = self.pool.request("POST", f"{self.address}api/images", body=body)
            self.statuses[given.status] += 1
            if given.status != 429:
                return time.perf_counter() - started
            time.sleep(float(given.headers["Retry-After"]))


def processor_time(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time that a process has taken; Linux."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(sender: Sender, photos: list[bytes], at_once: int) -> str:
    """Median and 99th percentile of an answer's time, answers per second, and the server's processor time for each."""
    before, started = processor_time(sender.server), time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(sender.send, photos))
    whole, taken = time.perf_counter() - started, processor_time(sender.server) - before
    ordered = sorted(found)
    late = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    clock = f"p50 {1000 * statistics.median(found):.0f} ms, p99 {1000 * late:.0f} ms, {len(found) / whole:.1f} images/s"
    return f"{clock}, {1000 * taken / len(found):.0f} ms of processor time an image"


def main() -> None:
    """Print one line a round and way, and how many of each status there were."""
    run, folder = sys.argv[1], Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg", ".png")]
    photos = [file.read_bytes() for file in files[:: max(1, len(files) // REQUESTS)][:REQUESTS]]
    server, address = start(run)
    try:
        sender = Sender(server, address)
        measure(sender, photos[:AT_ONCE], AT_ONCE)  # memory is allocated and kernels are chosen
        for number in range(1, rounds + 1):
            print(f"round {number}: alone: {measure(sender, photos[:ALONE], 1)}")
            print(f"round {number}: {AT_ONCE} at a time: {measure(sender, photos, AT_ONCE)}")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    print(
        f"answers by status: {dict(sender.statuses)}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    )


if __name__ == "__main__":
    main()
