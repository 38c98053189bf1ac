"""torch.compile around what runs once a batch: one graph, for the batches of one size."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.progress import Reporter

BACKEND = "inductor"
# The method's own dice fall as they do without a compiler, so that a run is the same run with it, up to rounding. They
# are few and small: leaving their kernels as they are costs next to nothing.
_OPTIONS = {"fallback_random": True}
_HARMLESS = (  # told while compiling, to whoever writes a compiler's back end
    "TensorFloat32 tensor cores",  # precision is the user's to choose, not a warning's
    "Online softmax is disabled",  # an optimisation that is not made
    "The tensor attributes",  # an LSTM's list of its own weights
)


class Compiled(nn.Module):
    """A module of which the batches of the first one's shape run as one compiled graph, any other as without.

    Nothing is compiled before the first batch. The module inside stays what it is: its parameters and its names.

    Args:
        module: takes images (B, ...) first. What changes its graph (its mode, what is trained) needs another Compiled.
        backend: torch.compile's; None: BACKEND.
    """

    def __init__(self, module: nn.Module, backend: str | None = None) -> None:
        super().__init__()
        backend = backend or BACKEND
        self.module = module
        self.shape: torch.Size | None = None  # of the batches that are compiled for
        # Its forward, not itself: compiled modules are modules, whose names would be in this one's.
        self._graph = torch.compile(
            module.forward,
            fullgraph=True,
            dynamic=False,
            backend=backend,
            options=_OPTIONS if backend == "inductor" else None,  # type: ignore[arg-type]
        )

    @property
    def fresh(self) -> bool:
        """Whether the next batch is the first, which is compiled for."""
        return self.shape is None

    def forward(self, images: Tensor, *inputs: Any, **more: Any) -> Any:
        """What the module makes of them. FgvcError where it cannot be compiled."""
        if self.fresh:
            with compiling():
                made = self._graph(images, *inputs, **more)
            self.shape = images.shape
            return made
        if images.shape != self.shape:  # an evaluation's last batch
            return self.module(images, *inputs, **more)
        return self._graph(images, *inputs, **more)


@contextmanager
def compiling() -> Iterator[None]:
    """Within, something is compiled: harmless warnings are not shown, and what goes wrong is said in one line."""
    cuda = logging.getLogger("torch.utils.cpp_extension")  # a GPU that nobody asked for is not there
    level = cuda.level
    try:
        cuda.setLevel(logging.ERROR)
        # An LSTM's attributes may be read in a graph: ops/recurrent.py runs the layer itself.
        with warnings.catch_warnings(), torch._dynamo.config.patch(allow_rnn=True):
            for message in _HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise FgvcError(f"PyTorch cannot compile this: {_reason(error)}; leave --compile out") from error
        raise
    finally:
        cuda.setLevel(level)


def _reason(error: Exception) -> str:
    text = str(error)
    if "Python.h" in text:
        return "it needs Python's headers (Debian, Ubuntu: apt install python3-dev)"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def told(fresh: bool, what: str, reporter: Reporter) -> Iterator[None]:
    """Around a batch: if it is the first of what is compiled, the user reads what takes so long; no rate counts it."""
    if not fresh:
        yield
        return
    reporter.line(f"compiling {what}, once: this takes from half a minute to several")
    started = time.monotonic()
    yield
    reporter.line(f"compiled in {time.monotonic() - started:.0f} s")
    reporter.restart()


def check_compiler(device: torch.device) -> None:
    """BadRequest where torch.compile lacks what it needs for that device."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise BadRequest("--compile needs Triton on a GPU: pip install triton, or leave --compile out")
    names, variable = _compilers(device)
    if not any(shutil.which(name) for name in names):
        raise BadRequest(
            f"--compile needs a C++ compiler, and {names[0]} is not there: install one (Debian, Ubuntu: apt install "
            f"g++), name one in the variable {variable}, or leave --compile out"
        )


def _compilers(device: torch.device) -> tuple[list[str], str]:
    """Names of the compilers one of which is needed, and the variable that names another."""
    if device.type == "cuda":  # Triton's, for what starts its kernels
        return [os.environ.get("CC") or "gcc", "gcc", "clang", "cl"], "CC"
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return [os.environ.get("CXX") or usual], "CXX"
