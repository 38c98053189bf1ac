from __future__ import annotations

from pathlib import Path

import pytest

from fgvc_cli.data.datasets import load_index
from fgvc_cli.errors import BadRequest
from tests.data.datasets.refusals import refused
from tests.data.datasets.test_datasets import assert_readable
from tests.data.small_archives import VARIANTS, spec_of, write_aircraft, write_lines


def test_aircraft(tmp_path: Path) -> None:
    data = write_aircraft(tmp_path)
    for root in (tmp_path, data.parent, data):
        index = load_index(spec_of("aircraft", root))
        assert index.classes == VARIANTS
        assert index.train.files[0] == "images/0000034.jpg"
        assert index.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert index.test.labels.tolist() == [0, 1, 2]
        assert index.cut_bottom == 20
        assert index.train.boxes is not None
        assert index.train.boxes[0].tolist() == [0, 0, 40, 30]
        assert_readable(index)


def test_aircraft_contradictions_are_named(tmp_path: Path) -> None:
    data = write_aircraft(tmp_path)
    path = data / "images_variant_test.txt"
    lines = path.read_text()
    path.write_text(lines.replace("F-16A/B", "F-16A"))
    assert "images_variant_test.txt:2: variant 'F-16A'" in refused("aircraft", data)
    path.write_text(lines)
    (data / "images_box.txt").write_text("0000034 1 1 40 30\n")
    assert "no line for image 0000035" in refused("aircraft", data)
    (data / "images_box.txt").unlink()
    assert load_index(spec_of("aircraft", data)).train.boxes is None


def test_aircraft_by_family_and_manufacturer(tmp_path: Path) -> None:
    data = write_aircraft(tmp_path)
    variants = load_index(spec_of("aircraft", tmp_path))
    families = load_index(spec_of("aircraft", tmp_path, level="family"))
    makers = load_index(spec_of("aircraft", tmp_path, level="manufacturer"))
    assert variants.classes == load_index(spec_of("aircraft", tmp_path, level="variant")).classes
    assert families.classes == ("Boeing 707", "F-16", "A340")
    assert makers.classes == ("Boeing", "Lockheed Martin")
    assert makers.train.labels.tolist() == [0, 0, 1, 1, 0, 0]
    assert makers.train.files == families.train.files == variants.train.files
    assert makers.train.boxes is not None
    assert makers.cut_bottom == 20
    assert makers.taxonomy is None
    assert families.taxonomy is not None
    assert variants.taxonomy is not None
    assert families.taxonomy.levels == ("manufacturer",)
    assert variants.taxonomy.levels == ("manufacturer", "family")
    told = [index.notes[0].partition(": ")[2].partition(",")[0] for index in (variants, families, makers)]
    assert told == ["3 of 100 classes", "3 of 70 classes", "2 of 30 classes"]
    write_lines(data / "families.txt", "F-16", "A340")
    with pytest.raises(BadRequest, match=r"images_family_trainval.txt:1: family 'Boeing 707' is not in families.txt"):
        load_index(spec_of("aircraft", tmp_path, level="family"))


def test_levels_need_a_tree() -> None:
    with pytest.raises(ValueError, match="level family: cub has no levels"):
        spec_of("cub", level="family")
