"""`auto` becomes what the starting weights were trained with; what contradicts them is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from fgvc_cli.backbones.preprocessing import contradiction, resolved, trained_with
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.inference.trained import load_trained
from fgvc_cli.methods import build_method
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.data import AUTO, IMAGENET_MEAN, IMAGENET_STD
from fgvc_cli.spec.presets import PRESETS, RECIPES, load_preset
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.train import train
from tests.conftest import small_spec

LITE0 = "timm:tf_efficientnet_lite0"
HALF = (0.5, 0.5, 0.5)


def spec_of(*sets: str, backbone: str = LITE0, weights: str = "imagenet") -> RunSpec:
    flags = {"backbone.name": backbone, "backbone.weights": weights}
    return build_spec(method="baseline", dataset="folder", flags=flags, sets=sets)


def test_what_timm_s_weights_say() -> None:
    spec = resolved(spec_of("data.image_size=auto", "data.resize=auto"))
    data = spec.data
    assert (data.mean, data.std, data.interpolation) == (HALF, HALF, "bicubic")
    assert (data.image_size, data.resize) == (224, 256)
    assert contradiction(spec) is None
    assert resolved(spec) is spec


def test_a_size_by_hand_keeps_the_crop_of_the_weights() -> None:
    data = resolved(spec_of("data.image_size=112", "data.resize=auto")).data
    assert (data.side, data.resize_side) == (112, 128)


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "vgg19_bn"])
def test_what_torchvision_s_weights_say(name: str) -> None:
    transforms = get_model_weights(name)["IMAGENET1K_V1"].transforms()
    data = resolved(spec_of("data.image_size=auto", "data.resize=auto", backbone=name)).data
    assert (data.mean, data.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert (data.interpolation, data.side, data.resize_side) == (transforms.interpolation.value, 224, 256)


def test_a_random_start_is_as_usual() -> None:
    data = resolved(spec_of(weights="none")).data
    assert (data.mean, data.std, data.interpolation) == (IMAGENET_MEAN, IMAGENET_STD, "bilinear")


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in (*RECIPES, "probe-folder")])
def test_presets_of_the_papers_are_what_they_were(name: str) -> None:
    preset, written = load_preset(name), PRESETS[name]().data
    assert AUTO in (preset.data.mean, preset.data.std, preset.data.interpolation)
    data = resolved(preset).data
    assert (data.mean, data.std, data.interpolation) == (written.mean, written.std, "bilinear")
    assert (data.image_size, data.resize) == (written.image_size, written.resize)


def test_a_contradiction_is_one_line() -> None:
    spec = resolved(spec_of("data.mean=[0.1,0.2,0.3]", "data.interpolation=bilinear"))
    said = contradiction(spec)
    assert said == (
        "unlike what the starting weights were trained with, data.mean is 0.1, 0.2, 0.3, not 0.5, 0.5, 0.5, "
        "data.interpolation is bilinear, not bicubic"
    )
    assert contradiction(resolved(spec_of("data.mean=[0.1,0.2,0.3]", weights="none"))) is None


def test_the_record_of_a_run_holds_values_and_a_run_from_it_takes_them(photos: Path, tmp_path: Path) -> None:
    first = small_spec(photos, "baseline", "train.epochs=1", "data.mean=[0.4,0.4,0.4]", "data.interpolation=bicubic")
    train(first, tmp_path / "one", Console(quiet=True))
    again = small_spec(photos, "baseline", "train.epochs=1", f"backbone.weights={tmp_path / 'one'}")
    assert trained_with(again).mean == again.data.mean == (0.4, 0.4, 0.4)
    train(again, tmp_path / "two", Console(quiet=True))
    for data in (RunFolder(tmp_path / "two").spec().data, load_trained(tmp_path / "two/model.safetensors").spec.data):
        assert (data.mean, data.interpolation) == ((0.4, 0.4, 0.4), "bicubic")


def test_runs_recorded_before_there_was_a_choice_are_bilinear() -> None:
    tree = resolved(spec_of(weights="none")).model_dump(mode="json")
    del tree["data"]["interpolation"], tree["method"]["pool"]
    spec = RunSpec.model_validate(tree)
    assert (spec.data.interpolation, spec.method.pool) == ("bilinear", "average")


def test_a_crop_above_the_image_is_the_whole_image() -> None:
    data = resolved(spec_of("data.image_size=auto", "data.resize=auto", backbone="timm:volo_d4_448")).data
    assert (data.side, data.resize_side) == (448, 448)  # timm's crop_pct is 1.15


@pytest.mark.parametrize("name", ["timm:resnet50.nosuch", "timm:resnet50."])
def test_weights_that_timm_does_not_have(name: str) -> None:
    with pytest.raises(BadRequest, match=r"timm has no model called 'resnet50\..*; there are resnet50\.a1_in1k, "):
        resolved(spec_of(backbone=name))


def test_values_by_hand_that_do_not_go_with_the_weights() -> None:
    with pytest.raises(BadRequest, match=r"resize 32 .* is too small for a crop of image_size 224"):
        resolved(spec_of("data.image_size=auto", "data.resize=32"))


def file_of_run(file: Path, spec: RunSpec) -> Path:
    """A file like a run's model.safetensors whose record holds that spec."""
    about = {"spec": spec.model_dump(mode="json"), "classes": ["a", "b"], "epoch": 1}
    method, _ = build_method(resolved(spec), 2, load_weights=False)
    save_file(
        {key: value.contiguous() for key, value in method.state_dict().items()}, file, {"fgvc": json.dumps(about)}
    )
    return file


def test_a_record_that_says_auto(tmp_path: Path) -> None:
    file = file_of_run(tmp_path / "odd.safetensors", spec_of(backbone="tiny", weights="none"))
    assert trained_with(spec_of(backbone="tiny", weights=str(file))).mean == IMAGENET_MEAN
    with pytest.raises(FgvcError, match=r"odd.safetensors: data.mean: a run's record holds values, not auto"):
        load_trained(file)


@pytest.mark.realdata
@pytest.mark.realweights
@torch.no_grad()
def test_an_albatross_with_the_preprocessing_of_the_weights(realdata: Path) -> None:
    import timm

    from fgvc_cli.backbones.timm.packaged_weights import packaged_state
    from fgvc_cli.data.images.read import read_image
    from fgvc_cli.data.loading.transforms import transform

    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(packaged_state("tf_efficientnet_lite0") or {})
    data = resolved(spec_of("data.image_size=auto", "data.resize=auto")).data
    file = realdata / "CUB_200_2011/images/001.Black_footed_Albatross/Black_footed_Albatross_0001.jpg"
    pixels, _, _ = transform(read_image(str(file), data.max_pixels), data)
    mean, std = (torch.tensor(values)[:, None, None] for values in data.normalisation)
    probability, found = network(((pixels / 255 - mean) / std)[None]).softmax(1).max(1)
    assert found.item() == 146
    assert probability.item() > 0.5
