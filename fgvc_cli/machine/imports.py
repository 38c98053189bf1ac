"""Whether a package is installed; imports of large packages without garbage collection."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


def has_module(name: str) -> bool:
    """Whether a module can be imported. A folder of its name, such as the `wandb` that wandb writes, is none."""
    found = find_spec(name)
    return found is not None and found.origin is not None


@contextmanager
def quick_imports() -> Iterator[None]:
    """Within, the garbage collector rests; afterwards it skips what was imported, which lives as long as the process.

    Importing PyTorch makes millions of objects, none of which becomes garbage: looking through them again and again
    takes an eighth of the time (docs/performance.md).
    """
    if not gc.isenabled():
        yield
        return
    known = len(sys.modules)
    gc.disable()
    try:
        yield
        if len(sys.modules) != known:  # else nothing new lives on, and garbage of the caller would be kept with it
            atexit.unregister(gc.unfreeze)
            atexit.register(gc.unfreeze)  # what the interpreter does not free at its end, libraries report as leaks
            gc.freeze()
    finally:
        gc.enable()
