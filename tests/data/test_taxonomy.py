"""Trees of classes: from a table, from edges, from the datasets that have one; their order, levels and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.datasets.cars import _make_and_model
from fgvc_cli.data.splits import at_level
from fgvc_cli.data.taxonomy import Taxonomy
from fgvc_cli.data.taxonomy_file import read_taxonomy
from fgvc_cli.data.types import DatasetIndex, Split
from fgvc_cli.errors import BadRequest

CLASSES = ("Alder Flycatcher", "Least Flycatcher", "Eastern Phoebe", "Blue Jay")
TABLE = """class,genus,family
Least Flycatcher,Empidonax,Tyrannidae
Alder flycatcher,Empidonax,Tyrannidae
Blue Jay,Cyanocitta,Corvidae
Eastern Phoebe,Sayornis,Tyrannidae
"""


def written(folder: Path, text: str) -> Path:
    (folder / "tree.csv").write_text(text)
    return folder / "tree.csv"


def test_a_table_of_classes(tmp_path) -> None:
    tree = read_taxonomy(written(tmp_path, TABLE), CLASSES)
    assert tree.levels == ("family", "genus")
    assert tree.paths[0] == tree.paths[1] == ("Tyrannidae", "Empidonax")
    assert tree.names == (("Corvidae", "Tyrannidae"), ("Cyanocitta", "Empidonax", "Sayornis"), CLASSES)
    assert tree.codes.tolist() == [[1, 1, 1, 0], [1, 1, 2, 0], [0, 1, 2, 3]]
    assert [CLASSES[one] for one in tree.order] == [
        "Blue Jay",
        "Alder Flycatcher",
        "Least Flycatcher",
        "Eastern Phoebe",
    ]
    assert tree.rules() == {1: 0, 3: 1}
    assert Taxonomy.of_record(tree.record()) == tree
    fewer = tree.for_classes(("Blue Jay", "New"))
    assert fewer.paths == (("Corvidae", "Cyanocitta"), ())
    assert fewer.names[0] == ("Corvidae", "New")


def test_edges_give_the_same_tree_without_its_top(tmp_path) -> None:
    edges = "child,parent\n" + "".join(
        f"{child},{parent}\n"
        for child, parent in {
            "Alder Flycatcher": "Empidonax",
            "Least Flycatcher": "Empidonax",
            "Eastern Phoebe": "Sayornis",
            "Blue Jay": "Corvidae",
            "Empidonax": "Tyrannidae",
            "Sayornis": "Tyrannidae",
            "Tyrannidae": "Birds",
            "Corvidae": "Birds",
        }.items()
    )
    tree = read_taxonomy(written(tmp_path, edges), CLASSES)
    assert tree.levels == ("level 1", "level 2")
    assert tree.paths == (("Tyrannidae", "Empidonax"),) * 2 + (("Tyrannidae", "Sayornis"), ("Corvidae",))
    assert tree.names[1] == ("Blue Jay", "Empidonax", "Sayornis")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (TABLE + "Blue Jay,Cyanocitta,Corvidae\n", "line 6: class 'Blue Jay' has a line already"),
        (TABLE.replace("Blue Jay", "Bluejay"), "line 4: the dataset has no class 'Bluejay'"),
        (TABLE.replace("Blue Jay,Cyanocitta,Corvidae\n", ""), "class 'Blue Jay' of the dataset is missing"),
        (TABLE.replace("Alder flycatcher,Empidonax,Tyr", "Alder flycatcher,Empidonax,Cor"), "genus 'Empidonax' is in"),
        (TABLE.replace(",Corvidae", ""), "line 4: has 2 cells, but the header has 3"),
        ("class\nBlue Jay\n", "has no level above the classes"),
        ("name,genus\nBlue Jay,A\n", "the first column must be `class`"),
        ("", "is empty"),
        ("class,a,a\n", "each another one"),
        ("class,all\n" + "".join(f"{name},birds\n" for name in CLASSES), "no level groups the classes"),
        ("class,own\n" + "".join(f"{name},{name}\n" for name in CLASSES), "no level groups the classes"),
        ("child,parent\n" + "".join(f"{name},x\n" for name in CLASSES) + "x,y\ny,x\n", "a tree has no cycle"),
        ("child,parent\n" + "".join(f"{name},x\n" for name in CLASSES) + "Blue Jay,y\n", "has two parents"),
    ],
)
def test_bad_files(tmp_path, text, complaint) -> None:
    with pytest.raises(BadRequest, match=complaint):
        read_taxonomy(written(tmp_path, text), CLASSES)
    with pytest.raises(BadRequest, match="cannot read"):
        read_taxonomy(tmp_path / "nothing.csv", CLASSES)


def test_two_taxa_of_one_name_are_two() -> None:
    tree = Taxonomy(("family", "genus"), ("a", "b"), (("X", "Common"), ("Y", "Common")))
    assert tree.names[1] == ("X / Common", "Y / Common")
    assert tree.codes[1].tolist() == [0, 1]


def test_a_level_as_the_classes(tmp_path) -> None:
    tree = read_taxonomy(written(tmp_path, TABLE), CLASSES)
    split = Split(("1", "2", "3", "4"), np.array([0, 1, 2, 3]))
    index = DatasetIndex("folder", tmp_path, CLASSES, split, split, taxonomy=tree)
    genera = at_level(index, "genus")
    assert genera.classes == ("Cyanocitta", "Empidonax", "Sayornis")
    assert genera.train.labels.tolist() == [1, 1, 2, 0]
    assert genera.taxonomy is not None
    assert genera.taxonomy.paths == (("Corvidae",), ("Tyrannidae",), ("Tyrannidae",))
    assert at_level(index, "family").taxonomy is None
    assert at_level(index, "class") is index
    with pytest.raises(BadRequest, match="choose family, genus or class"):
        at_level(index, "order")


def test_cars_by_their_names() -> None:
    names = (
        "Aston Martin V8 Vantage Coupe 2012",
        "Dodge Ram Pickup 3500 Crew Cab 2010",
        "Dodge Ram Pickup 3500 Quad Cab 2009",
        "Acura TL Type-S 2008",
        "smart",
    )
    found = _make_and_model(names)
    assert found["make"] == ["Aston Martin", "Dodge", "Dodge", "Acura", "smart"]
    assert found["model"][0] == "Aston Martin V8 Vantage"
    assert found["model"][1] == found["model"][2] == "Dodge Ram Pickup 3500"
    assert found["model"][3:] == ["Acura TL Type-S", "smart"]
