"""Presets that are recipes for any method: modern-DATASET and light-folder."""

from __future__ import annotations

import json

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.build import build_spec, validate
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.presets import PRESETS, RECIPES, load_preset

NAMES = [name for name in PRESETS if name.startswith(RECIPES)]
MODERN = ("folder", "csv", "cub", "cars", "aircraft", "dogs", "nabirds")


def test_which_there_are() -> None:
    assert set(NAMES) == {f"modern-{name}" for name in MODERN} | {"light-folder"}


@pytest.mark.parametrize("method", METHOD_SPECS)
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_takes_any_method(name: str, method: str) -> None:
    spec = build_spec(preset=name, method=method)
    assert spec.preset == name
    assert spec.method == load_preset(f"{method}-folder").method
    plain = load_preset(name)
    assert spec == plain.model_copy(update={"method": spec.method})
    assert validate(json.loads(spec.model_dump_json())) == spec


def test_a_run_of_a_recipe_is_repeated(tmp_path) -> None:
    spec = build_spec(preset="light-folder", method="reaps", flags={"train.epochs": 2}, sets=["method.tau=0.3"])
    (tmp_path / "run.json").write_text(spec.model_dump_json())
    assert build_spec(config=tmp_path) == spec
    assert build_spec(config=tmp_path, preset="light-folder") == spec


def test_a_paper_s_preset_takes_no_other_method() -> None:
    with pytest.raises(BadRequest, match=r"^preset reaps-cub is for method reaps, not clan: leave one of them out$"):
        build_spec(preset="reaps-cub", method="clan")
    with pytest.raises(BadRequest, match="no method is called 'nothing'"):
        build_spec(preset="light-folder", method="nothing")


def test_a_recipe_takes_another_dataset() -> None:
    spec = build_spec(preset="light-folder", dataset="cub")
    assert (spec.data.dataset, spec.preset, spec.data.image_size) == ("cub", "light-folder", 224)
