"""What a class's name may mean to other tools."""

from __future__ import annotations

import pytest

from fgvc_cli.data.formats.class_names import class_names

SEVERAL = "is read as one class, where other tools read several labels of an image"


@pytest.mark.parametrize("name", ["bird|red", "bird;red", "bird ; red"])
def test_a_name_with_a_separator_is_one_class_and_noted(name: str) -> None:
    found = class_names(["wren", name], [])
    assert set(found.classes) == {"wren", name}
    assert found.notes == (f"{name!r} {SEVERAL}",)


def test_several_are_one_note() -> None:
    assert class_names(["a|b", "a|c", "d"], []).notes == (f"'a|b' {SEVERAL} (and 1 more such names)",)


def test_a_comma_counts_only_where_its_parts_are_labels_too() -> None:
    assert class_names(["Finch, elm", "Finch, oak", "Wren"], []).notes == ()
    found = class_names(["bird,red", "bird,blue", "car,red"], [])
    assert found.notes == (f"'bird,red' {SEVERAL}",)


@pytest.mark.parametrize("name", ["|", "wren|", ";wren", "a/b", "black-and-white", "001.wren", "wren & robin"])
def test_other_names_are_left_alone(name: str) -> None:
    assert class_names(["robin", name], []).notes == ()
