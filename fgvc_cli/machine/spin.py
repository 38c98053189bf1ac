"""How long OpenMP threads spin while they wait for each other. It must be set before PyTorch is loaded."""

from __future__ import annotations

import os
import sys

# Rounds of libgomp's waiting loop before a thread sleeps: the fewest that cost nothing on a quiet machine
# (docs/performance.md, "A busy machine"). While other processes are busy, contention.py makes it fewer.
SPINS = 10000


def bound_spin() -> None:
    """Limit how long a waiting thread keeps its core, unless the user has set how threads wait.

    libgomp, the OpenMP library of PyTorch's Linux wheels, spins 300,000 rounds (milliseconds) by default. If another
    process is busy, the thread that the others wait for may have no core, and a spinning thread keeps it from getting
    one. libgomp reads its environment once, when PyTorch loads it; setting the variable later has no effect. Child
    processes inherit it. Results stay bit-equal: what each thread computes does not change.
    """
    if "torch" not in sys.modules and spin_is_ours():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def spin_is_ours() -> bool:
    """Whether the user has set neither of the variables that control how threads wait."""
    return "OMP_WAIT_POLICY" not in os.environ and os.environ.get("GOMP_SPINCOUNT", str(SPINS)) == str(SPINS)
