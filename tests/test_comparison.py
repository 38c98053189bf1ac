"""The material of the comparison of methods in benchmarks/: its suites, tables of parts, and scenes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import parts, scenes
from fgvc_cli.data.datasets import load_index
from fgvc_cli.data.types import DatasetIndex
from fgvc_cli.spec.flags import spec_of_row
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.suite.plan import built, open_suite
from fgvc_cli.suite.search import with_picked
from fgvc_cli.suite.tuning import combinations
from tests.conftest import small_spec

SUITES = sorted((Path(__file__).parents[1] / "benchmarks/suites").glob("*.toml"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_its_suites_have_the_same_settings_in_all_rows_but_for_the_method(path: Path) -> None:
    file, _ = open_suite(str(path))
    specs: list[RunSpec] = []
    for row in file.rows:
        for picked in combinations(file.search_of(row)) or [{}]:
            flags = with_picked(file.flags_of(row), picked)
            specs.append(built(spec_of_row, row.name, flags))
    assert len({(spec.train.epochs, spec.data, spec.train.batch_size) for spec in map(_hashable, specs)}) == 1


def _hashable(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"data": spec.data.model_dump_json()})


@pytest.fixture
def index(photos: Path) -> DatasetIndex:
    return load_index(small_spec(photos).data)


def test_a_table_of_the_first_classes(index: DatasetIndex, tmp_path: Path) -> None:
    table = parts.table_of(index, range(2), tmp_path / "part.csv")
    part = load_index(small_spec(table, "baseline", "data.dataset=csv").data)
    assert part.classes == index.classes[:2]
    assert len(part.test) == sum(index.test.labels < 2)


def test_scenes_hold_the_photograph_at_its_box_and_are_drawn_by_the_seed(index: DatasetIndex, tmp_path: Path) -> None:
    table = scenes.write_scenes(index, 2, tmp_path / "a", 3)
    again = scenes.write_scenes(index, 2, tmp_path / "b", 3)
    assert table.read_text() == again.read_text() != scenes.write_scenes(index, 2, tmp_path / "c", 4).read_text()
    with table.open() as file:
        row = next(csv.DictReader(file))
    left, top, right, bottom = (int(row[side]) for side in scenes.BOX)
    canvas = Image.open(tmp_path / "a" / row["path"])
    assert canvas.size == (scenes.SIDE, scenes.SIDE)
    assert scenes.SIZES[0] <= max(right - left, bottom - top) / scenes.SIDE <= scenes.SIZES[1] + 0.01
    photo = Image.open(index.root / index.train.files[0]).convert("RGB").resize((right - left, bottom - top), 3)
    assert np.array_equal(np.asarray(canvas.crop((left, top, right, bottom))), np.asarray(photo))
    assert load_index(small_spec(table, "baseline", "data.dataset=csv").data).train.boxes is not None
