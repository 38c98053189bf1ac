"""Flags by their names: as a spec, and as the command line has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.flags import checked_flags, spec_of_row, written


def test_flags_that_were_given_are_named_even_where_they_say_no() -> None:
    flags = {"seed": 0, "class_balance": False, "sets": ["a=b"], "lr": None}
    assert written(flags) == ["--seed", "--class-balance", "--set"]
    assert written({"sets": [], "mixup": None}) == []


def test_paths_are_paths_and_other_text_is_not() -> None:
    found = checked_flags(
        {"data_dir": "photos", "method": "reaps", "config": None}, ("data_dir", "method", "config"), "x"
    )
    assert found == {"data_dir": Path("photos"), "method": "reaps", "config": None}


def test_a_name_that_is_no_flag() -> None:
    with pytest.raises(BadRequest, match="metod is no flag of fgvc train: did you mean method"):
        checked_flags({"metod": "reaps"}, ("method", "epochs"), "fgvc train")
    with pytest.raises(BadRequest, match="xyz is no flag of it: there are epochs, method"):
        checked_flags({"xyz": 1}, ("method", "epochs"), "it")


def test_a_row_of_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = spec_of_row({"method": "reaps", "dataset": "folder", "data_dir": "photos", "set": ["method.stages=2"]})
    assert (spec.method.name, spec.data.root, spec.model_dump()["method"]["stages"]) == (
        "reaps",
        tmp_path / "photos",
        2,
    )
