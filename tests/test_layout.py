"""The floor plan of the package: small folders, short files, tests where their subject is."""

from __future__ import annotations

from pathlib import Path

import pytest

import fgvc_cli

PACKAGE = Path(fgvc_cli.__file__).parent
TESTS = Path(__file__).parent
FOLDERS = sorted({file.parent.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py")})
MANY_ALIKE = {Path("cli/commands"), Path("data/datasets"), Path("spec/presets")}  # one file a command, dataset, method
OWN_TESTS = {"gpu", "golden", "attack", "docs"}  # of the package as a whole


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_no_folder_holds_more_than_a_dozen_files(folder: Path) -> None:
    files = list((PACKAGE / folder).glob("*.py"))
    assert len(files) <= 12 or folder in MANY_ALIKE


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {file: lines for file, lines in lengths.items() if lines > 400} == {}


def test_tests_lie_as_the_package_does() -> None:
    folders = {file.parent.relative_to(TESTS) for file in TESTS.rglob("test_*.py")}
    strays = {folder for folder in folders - set(FOLDERS) if folder.parts and folder.parts[0] not in OWN_TESTS}
    assert strays == set()
