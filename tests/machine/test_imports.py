from __future__ import annotations

import gc

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


def test_a_failed_import_leaves_it_working() -> None:
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()
