"""How long OpenMP's threads spin while they wait for one another; to be said before PyTorch is loaded."""

from __future__ import annotations

import os
import sys

SPINS = 10000
"""Rounds of libgomp's waiting loop before a thread sleeps: the fewest that cost nothing on a quiet machine
(docs/performance.md, "A busy machine"); while other processes are busy, crowd.py sees to it that there are fewer."""


def bound_spin() -> None:
    """Let a thread that waits for others give its core away soon, unless the user has said how they wait.

    By itself libgomp, the OpenMP of PyTorch's Linux wheels, spins 300,000 rounds (milliseconds). Beside another busy
    process the thread that is waited for may be without a core, and the one that spins keeps it from getting one.
    libgomp reads its environment once, when PyTorch loads it: afterwards there is nothing to set. Processes started by
    this one inherit the variable. Results stay the same to the bit: what each thread computes does not change.
    """
    if "torch" not in sys.modules and spin_is_ours():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def spin_is_ours() -> bool:
    """Whether the user has left it to fgvc how threads wait."""
    return "OMP_WAIT_POLICY" not in os.environ and os.environ.get("GOMP_SPINCOUNT", str(SPINS)) == str(SPINS)
