from __future__ import annotations

import gc
import subprocess
import sys
from importlib import import_module

import pytest

from fgvc_cli.machine.imports import quick_imports


def test_the_garbage_collector_rests_within_and_works_afterwards() -> None:
    with quick_imports():
        assert not gc.isenabled()
        with quick_imports():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()


def test_the_interpreter_frees_at_its_end_what_was_imported() -> None:
    """Otherwise libraries report leaks there."""
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()))\n"
    code += "from fgvc_cli.machine.imports import quick_imports\n"
    code += "for module in ('csv', 'json'):\n    with quick_imports(): __import__(module)\n"
    code += "print(gc.get_freeze_count() > 0)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "0"]


def test_a_failed_import_leaves_it_working() -> None:
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()


def test_what_is_imported_already_costs_nothing_and_keeps_nothing() -> None:
    import_module("json")
    kept = gc.get_freeze_count()
    with quick_imports():
        import_module("json")
    assert gc.get_freeze_count() == kept
