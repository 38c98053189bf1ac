"""Presets that are recipes for any method: modern-DATASET and light-folder."""

from __future__ import annotations

import json

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.report.settings import settings
from fgvc_cli.spec.build import build_spec, validate
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.optim import AdamW, Cosine
from fgvc_cli.spec.presets import PRESETS, RECIPES, load_preset

MODERN = ("folder", "csv", "cub", "cars", "aircraft", "dogs", "nabirds")


def test_which_there_are() -> None:
    assert set(RECIPES) == {f"modern-{name}" for name in MODERN} | {"light-folder"}
    assert RECIPES.items() <= PRESETS.items()


@pytest.mark.parametrize("dataset", MODERN)
def test_modern_is_what_the_field_fine_tunes(dataset: str) -> None:
    spec = load_preset(f"modern-{dataset}")
    optim, data = spec.optim, spec.data
    assert (data.dataset, data.image_size) == (dataset, 384)
    assert spec.backbone.name == "timm:convnext_base.fb_in22k_ft_in1k_384"
    assert (optim.layer_decay, optim.head_lr, optim.decay, spec.backbone.drop_path) == (0.8, 10, "weights", 0.2)
    assert (type(optim.optimizer), type(optim.schedule)) == (AdamW, Cosine)
    assert (spec.regularise.label_smoothing, spec.train.ema_decay is not None) == (0.1, True)
    assert 0 < optim.warmup_epochs < spec.train.epochs


NUMBERS = {  # field → how the docstring names it
    "image_size": "384 pixels",
    "lr": "rate 5e-5",
    "weight_decay": "weight decay 1e-8",
    "layer_decay": "layer decay 0.8",
    "drop_path": "drop path 0.2",
    "head_lr": "Head × 10",
    "warmup_epochs": "Warm-up 3 epochs",
    "epochs": "30 epochs",
    "clip_norm": "clipped at 5",
    "label_smoothing": "label smoothing 0.1",
}


@pytest.mark.parametrize("dataset", MODERN)
def test_every_number_of_modern_has_its_source(dataset: str) -> None:
    text = " ".join((PRESETS[f"modern-{dataset}"].__doc__ or "").split())
    spec = load_preset(f"modern-{dataset}")
    for number in NUMBERS.values():
        assert number in text
    assert f"Images resized to {spec.data.resize}" in text
    assert f"Batch {spec.train.batch_size} × {spec.optim.accumulate}" in text
    assert f"Moving average {spec.train.ema_decay}" in text


def test_light_folder_is_small_and_keeps_all_of_the_image() -> None:
    spec = load_preset("light-folder")
    assert (spec.backbone.name, spec.backbone.weights) == ("timm:tf_efficientnet_lite0", "imagenet")
    assert (spec.data.image_size, spec.data.resize_side) == (224, 224)
    assert (spec.data.mean, spec.data.std, spec.data.interpolation) == ("auto", "auto", "auto")  # of the weights
    assert spec.train.ema_decay == 0.99  # of the last hundred steps: a small folder has few


@pytest.mark.parametrize("method", METHOD_SPECS)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_any_method(name: str, method: str) -> None:
    spec = build_spec(preset=name, method=method)
    assert spec.preset == name
    assert spec.method == load_preset(f"{method}-folder").method
    plain = load_preset(name)
    assert spec == plain.model_copy(
        update={part: getattr(spec, part) for part in ("method", "backbone", "optim", "regularise")}
    )
    changed = {"freeze": "all", "probe_first": False} if spec.method.at_once else {}
    if spec.method.name in ("tdsa", "mc"):
        changed = {"probe_first": False}
    assert spec.backbone == plain.backbone.model_copy(update=changed)
    random = plain.backbone.probe_first and not spec.method.behind
    assert spec.optim == plain.optim.model_copy(update={"head_lr": 3.0, "clip_norm": 10.0} if random else {})
    assert spec.regularise == plain.regularise.model_copy(update={"mixup_alpha": 0.0} if random else {})
    assert validate(json.loads(spec.model_dump_json())) == spec
    assert not [setting for setting in settings(spec) if setting.preset is not None]


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
