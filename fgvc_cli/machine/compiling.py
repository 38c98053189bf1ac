"""torch.compile for a module that is called on each batch: one graph, for batches of one shape."""

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
# Random operations give the same numbers as without the compiler, so a compiled run is the same run, up to rounding.
# They are few and small, so not compiling them costs almost nothing.
_OPTIONS = {"fallback_random": True}
_HARMLESS = (  # warnings while compiling that a user can do nothing about
    "TensorFloat32 tensor cores",  # the user chooses the precision
    "Online softmax is disabled",  # an optimisation that is not applied
    "The tensor attributes",  # an LSTM's list of its own weights
)


class Compiled(nn.Module):
    """A module that runs batches of the first batch's shape as one compiled graph, and other batches uncompiled.

    The graph is compiled on the first batch. The wrapped module keeps its parameters and their names.

    Args:
        module: its first argument is the images (B, ...). After a change of its graph (its mode, which parameters are
            trained), make a new Compiled.
        backend: torch.compile's back end; None: BACKEND.
    """

    def __init__(self, module: nn.Module, backend: str | None = None) -> None:
        super().__init__()
        backend = backend or BACKEND
        self.module = module
        self.shape: torch.Size | None = None  # shape of the images that the graph is compiled for
        # Only its forward is compiled: a compiled module would be a submodule and change the parameters' names.
        self._graph = torch.compile(
            module.forward,
            fullgraph=True,
            dynamic=False,
            backend=backend,
            options=_OPTIONS if backend == "inductor" else None,  # type: ignore[arg-type]
        )

    @property
    def fresh(self) -> bool:
        """Whether nothing is compiled yet, so that the next batch will be slow."""
        return self.shape is None

    def forward(self, images: Tensor, *inputs: Any, **more: Any) -> Any:
        """The module's output. FgvcError if the module cannot be compiled."""
        if self.fresh:
            with compiling():
                made = self._graph(images, *inputs, **more)
            self.shape = images.shape
            return made
        if images.shape != self.shape:  # for example the last batch of an evaluation
            return self.module(images, *inputs, **more)
        return self._graph(images, *inputs, **more)


@contextmanager
def compiling() -> Iterator[None]:
    """A context for compiling: hides harmless warnings and turns a compiler's error into a one-line FgvcError."""
    cuda = logging.getLogger("torch.utils.cpp_extension")  # it warns if there is no GPU, also when none is needed
    level = cuda.level
    try:
        cuda.setLevel(logging.ERROR)
        # allow_rnn lets a graph read an LSTM's attributes, which is all it needs: ops/recurrent.py runs the layer.
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
    """A context for one batch: if `fresh`, reports that it takes long because `what` is being compiled.

    The progress rate is restarted afterwards, so that it does not include the compilation.
    """
    if not fresh:
        yield
        return
    reporter.line(f"compiling {what}, once: this takes from half a minute to several minutes")
    started = time.monotonic()
    yield
    reporter.line(f"compiled in {time.monotonic() - started:.0f} s")
    reporter.restart()


def check_compiler(device: torch.device) -> None:
    """BadRequest if something that torch.compile needs for the device is missing."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise BadRequest("--compile needs Triton on a GPU: pip install triton, or leave --compile out")
    names, variable = _compilers(device)
    if not any(shutil.which(name) for name in names):
        raise BadRequest(
            f"--compile needs a C++ compiler, and {names[0]} is not there: install one (Debian, Ubuntu: apt install "
            f"g++), name one in the environment variable {variable}, or leave --compile out"
        )


def _compilers(device: torch.device) -> tuple[list[str], str]:
    """Names of compilers, one of which is needed, and the environment variable that can name another."""
    if device.type == "cuda":  # Triton compiles the code that launches its kernels
        return [os.environ.get("CC") or "gcc", "gcc", "clang", "cl"], "CC"
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return [os.environ.get("CXX") or usual], "CXX"
