from __future__ import annotations

import json

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.build import build_spec, recipe_note, validate
from fgvc_cli.spec.data import DATASET_NAMES
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.optim import Cosine, Step
from fgvc_cli.spec.presets import PRESETS, RECIPES, load_preset


def test_the_dataset_picks_the_preset() -> None:
    spec = build_spec(method="reaps", dataset="cub")
    assert spec.preset == "reaps-cub"
    assert spec.backbone.name == "vgg19"
    assert spec.optim.schedule == Step(every=60, gamma=0.1)


def test_without_a_word_the_demo_is_trained() -> None:
    assert build_spec().preset == "baseline-demo"


def test_order_is_preset_config_flags_set(tmp_path) -> None:
    config = tmp_path / "run.json"
    config.write_text(json.dumps({"train": {"epochs": 2, "batch_size": 2, "seed": 2}, "optim": {"lr": 2.0}}))
    spec = build_spec(
        preset="reaps-cub",
        config=config,
        flags={"train.batch_size": 3, "train.seed": 3, "train.device": None},
        sets=["train.seed=4"],
    )
    assert (spec.optim.lr, spec.train.epochs, spec.train.batch_size, spec.train.seed) == (2.0, 2, 3, 4)
    assert spec.method.tau == 0.1
    assert spec.train.device == "auto"


def test_a_run_is_repeated_from_its_file_or_folder(tmp_path) -> None:
    spec = build_spec(method="reaps", dataset="cars", flags={"train.epochs": 7}, sets=["method.tau=0.2"])
    (tmp_path / "run.json").write_text(spec.model_dump_json())
    assert build_spec(config=tmp_path / "run.json") == spec
    assert build_spec(config=tmp_path) == spec


def test_another_schedule_drops_the_old_ones_fields_in_any_order() -> None:
    for sets in (
        ["optim.schedule.name=cosine", "optim.schedule.final=0.1"],
        ["optim.schedule.final=0.1", "optim.schedule.name=cosine"],
    ):
        assert build_spec(preset="reaps-cub", sets=sets).optim.schedule == Cosine(final=0.1)


def test_changing_one_field_of_a_schedule_keeps_the_others() -> None:
    assert build_spec(preset="reaps-cub", sets=["optim.schedule.gamma=0.5"]).optim.schedule == Step(every=60, gamma=0.5)


def test_both_names_of_the_step_schedule_are_taken() -> None:
    schedule = build_spec(preset="reaps-cub", sets=["optim.schedule.name=exponential"]).optim.schedule
    assert isinstance(schedule, Step)


@pytest.mark.parametrize(("size", "resize"), [(448, 600), (224, 300), (112, 150)])
def test_the_recipes_crop_scales_with_the_image_size(size, resize) -> None:
    data = build_spec(preset="baseline-cub", flags={"data.image_size": size}).data
    assert (data.image_size, data.resize_side) == (size, resize)


@pytest.mark.parametrize(
    ("flags", "sets", "expected"),
    [
        ({}, [], 20),
        ({"train.epochs": 1}, [], 1),
        ({"train.epochs": 10}, [], 10),
        ({"train.epochs": 10}, ["backbone.plain_epochs=20"], 20),
        ({"backbone.weights": "a.pth"}, [], 0),
        ({"backbone.weights": "a.pth"}, ["backbone.plain_epochs=20"], 20),
    ],
)
def test_the_plain_network_comes_first_where_the_recipe_has_it(flags, sets, expected) -> None:
    assert build_spec(preset="apcnn-demo", flags=flags, sets=sets).backbone.plain_epochs == expected


def test_a_run_that_began_with_the_plain_network_is_repeated_as_it_was(tmp_path) -> None:
    spec = build_spec(preset="apcnn-demo", flags={"backbone.weights": "a.pth"}, sets=["backbone.plain_epochs=20"])
    (tmp_path / "run.json").write_text(spec.model_dump_json())
    assert build_spec(config=tmp_path) == spec
    assert build_spec(config=tmp_path, flags={"train.epochs": 3}).backbone.plain_epochs == 20


def test_a_run_that_began_with_the_plain_network_goes_on_from_its_own_weights(tmp_path) -> None:
    """`--config RUN --weights RUN` must not train the plain network anew, and start from that."""
    (tmp_path / "run.json").write_text(build_spec(preset="apcnn-demo").model_dump_json())
    flags = {"backbone.weights": str(tmp_path), "train.epochs": 3}
    spec = build_spec(config=tmp_path, flags=flags)
    assert (spec.backbone.weights, spec.backbone.plain_epochs, spec.train.epochs) == (str(tmp_path), 0, 3)
    asked = build_spec(config=tmp_path, flags=flags, sets=["backbone.plain_epochs=2"])
    assert asked.backbone.plain_epochs == 2


def test_a_given_resize_is_left_alone() -> None:
    data = build_spec(preset="baseline-cub", flags={"data.image_size": 224}, sets=["data.resize=256"]).data
    assert data.resize == 256


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (["train.epochs=0"], "train.epochs: must be at least 1 (got 0)"),
        (["train.epochs=abc"], "train.epochs: must be a whole number (got 'abc')"),
        (["train.epoch=3"], "train.epoch: there is no such field; did you mean epochs?"),
        (["method.tau=2"], "method.tau: must be below 1.0 (got 2)"),
        (["method.units=3"], "method.units: must be even: each direction has half of the units"),
        (["optim.lr=NaN"], "optim.lr: must be a finite number (got nan)"),
        (["optim.schedule.every=0"], "optim.schedule.every: must be at least 1 (got 0)"),
        (
            ["optim.schedule.name=exponential", "optim.schedule.every=0"],
            "optim.schedule.every: must be at least 1 (got 0)",
        ),
        (["optim.optimizer.name=adam"], "optim.optimizer: name must be one of 'sgd', 'adamw' (got {'name': 'adam'})"),
        (["train=7"], "train: must be a section with fields of its own (got 7)"),
        (["train.precision=fp8"], "train.precision: must be 'fp32', 'bf16' or 'fp16' (got 'fp8')"),
        (["data.flip=maybe"], "data.flip: must be true or false (got 'maybe')"),
        (["data.resize=100"], "data: resize 100 with padding 0 is too small for a crop of image_size 448"),
        (
            ["backbone.name=resnet5"],
            "backbone.name: no backbone is called 'resnet5'; there are tiny, resnet18, "
            "resnet34, resnet50, resnet101, vgg16, vgg16_bn, vgg19, vgg19_bn, timm:NAME and auto",
        ),
        (["schema_version=2"], "this spec has schema version 2, but this fgvc reads version 1: upgrade fgvc"),
        (["epochs"], "--set takes FIELD=VALUE, for example optim.lr=0.01 (got 'epochs')"),
        (["a..b=1"], "--set takes FIELD=VALUE, for example optim.lr=0.01 (got 'a..b=1')"),
    ],
)
def test_one_readable_line_a_field(sets, line) -> None:
    with pytest.raises(BadRequest) as caught:
        build_spec(preset="reaps-cub", sets=sets)
    assert str(caught.value) == line
    assert caught.value.exit_code == 2


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        build_spec(sets=["train.epochs=0", "optim.lr=-1"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["optim.lr", "train.epochs"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"method": "reap"}, "no method is called 'reap'"),
        ({"dataset": "cats"}, "no dataset is called 'cats'"),
        ({"preset": "reaps-cats"}, "no preset is called 'reaps-cats'"),
        ({"preset": "reaps-cub", "method": "baseline"}, "preset reaps-cub is for method reaps, not baseline"),
    ],
)
def test_unknown_names_say_what_there_is(request_, words) -> None:
    with pytest.raises(BadRequest, match=words):
        build_spec(**request_)


def test_config_errors_are_one_line(tmp_path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(BadRequest, match="is not valid JSON: line 1"):
        build_spec(config=broken)
    with pytest.raises(BadRequest, match="cannot read --config"):
        build_spec(config=tmp_path / "missing.json")
    broken.write_text("[1]")
    with pytest.raises(BadRequest, match="must hold a JSON object"):
        build_spec(config=broken)
    broken.write_text('{"method": {"name": "reaps"}}')
    with pytest.raises(BadRequest, match="not baseline: leave out --method or --config"):
        build_spec(config=broken, method="baseline")


@pytest.mark.parametrize("method", METHOD_SPECS)
def test_every_method_has_a_recipe_for_every_dataset(method: str) -> None:
    for dataset in DATASET_NAMES:
        spec = build_spec(method=method, dataset=dataset)
        assert (spec.method.name, spec.data.dataset) == (method, dataset)
        own = f"{method}-{dataset}" in PRESETS
        assert spec.preset == f"{method}-{dataset if own else 'folder'}"
        if own or dataset == "csv" or spec.method.at_once:
            assert recipe_note(spec) is None
        else:
            folder = load_preset(f"{method}-folder")
            assert spec == folder.model_copy(update={"data": folder.data.model_copy(update={"dataset": dataset})})
            assert recipe_note(spec) == (
                f"there is no published recipe of {method} for {dataset}: using preset {method}-folder"
            )


def test_a_run_from_the_fallback_is_repeated(tmp_path) -> None:
    spec = build_spec(method="reaps", dataset="dogs", flags={"train.epochs": 7})
    (tmp_path / "run.json").write_text(spec.model_dump_json())
    assert build_spec(config=tmp_path) == spec


def test_levels() -> None:
    spec = build_spec(method="reaps", dataset="aircraft", sets=["data.level=family"])
    assert (spec.preset, spec.data.level) == ("reaps-aircraft", "family")
    with pytest.raises(
        BadRequest, match=r"^data: level family: cub has no levels; --taxonomy FILE names a tree of its classes$"
    ):
        build_spec(method="reaps", dataset="cub", sets=["data.level=family"])
    with pytest.raises(BadRequest, match=r"^data: level must be one of variant, family, manufacturer \(got 'maker'\)$"):
        build_spec(dataset="aircraft", sets=["data.level=maker"])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json_and_tells_its_source(name) -> None:
    spec = load_preset(name)
    assert validate(json.loads(spec.model_dump_json())) == spec
    command = f"--method {spec.method.name} --dataset {spec.data.dataset}"
    if name in RECIPES:
        command, recipe = f"--preset {name}", name.partition("-")[0]
    else:
        recipe = spec.method.name
    assert spec.preset == name == f"{recipe}-{spec.data.dataset}"
    text = PRESETS[name].__doc__ or ""
    for word in ("Paper: ", f"Command: fgvc train {command}", "Published: "):
        assert word in text


@pytest.mark.parametrize("method", ["apcnn", "tdsa", "mc"])
def test_published_numbers_say_that_they_were_chosen_on_the_test_set(method) -> None:
    """The released code of these three reports the best epoch on the test set."""
    texts = [preset.__doc__ for name, preset in PRESETS.items() if name.startswith(f"{method}-")]
    numbers = [text for text in texts if "% top-1" in text]
    assert len(numbers) >= 3
    assert all(", best epoch on the test set.\n" in text for text in numbers)


def test_specs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build_spec().train.epochs = 3
