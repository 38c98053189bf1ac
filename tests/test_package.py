"""`import fgvc_cli` costs nothing, and what it offers is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fgvc_cli as fgvc


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_no_torch_is_loaded() -> None:
    code = "import sys, fgvc_cli as f; [getattr(f, name) for name in f.__all__]"
    code += "; dir(f); print(sorted({'torch', 'numpy.testing', 'timm', 'matplotlib.figure'} & {*sys.modules}))"
    assert python(code) == "[]\n"


def test_every_name_is_there() -> None:
    assert len(fgvc.__all__) <= 20
    assert all(getattr(fgvc, name).__doc__ for name in fgvc.__all__)
    assert {*fgvc.__all__} <= {*dir(fgvc)}
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = fgvc.nothing


def test_types_are_declared() -> None:
    from importlib.resources import files

    assert (files("fgvc_cli") / "py.typed").is_file()
