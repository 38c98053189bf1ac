"""What a backbone refuses at the asked size is found before anything is made, for every method."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.methods import sizes
from fgvc_cli.methods.sizes import check_image_size
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.terminal import Console
from fgvc_cli.training.estimate import estimate
from fgvc_cli.training.train import train
from tests.conftest import small_spec

VIT = "timm:vit_tiny_patch16_224"
HINT = r"100 pixels \(Input height \(100\) should be divisible by patch size \(16\)\): use --image-size 96 or 112$"


def spec_of(method: str, size: int, backbone: str = "tiny") -> RunSpec:
    flags = {"backbone.name": backbone, "backbone.weights": "none", "data.image_size": size}
    return build_spec(method=method, dataset="demo", flags=flags, sets=["data.resize=null"])


@pytest.mark.parametrize("method", ["baseline", "reaps"])  # refused by forward, by __init__
def test_a_size_that_patches_do_not_divide_names_the_nearest_that_they_do(method: str) -> None:
    with pytest.raises(BadRequest, match=f"data.image_size: {method} with backbone {VIT} does not run at {HINT}"):
        check_image_size(spec_of(method, 100, VIT), 12)
    check_image_size(spec_of(method, 96, VIT), 12)


def test_counting_and_estimating_say_it_too(photos: Path, tmp_path: Path) -> None:
    spec = small_spec(photos, "baseline", f"backbone.name={VIT}", "data.resize=null", "data.image_size=100")
    with pytest.raises(BadRequest, match=HINT):
        estimate(spec, tmp_path / "run", Console(file=io.StringIO()))


def test_a_run_is_refused_before_anything_is_made(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = [f"backbone.name={VIT}", "backbone.weights=imagenet", "data.resize=null", "data.image_size=100"]
    with pytest.raises(BadRequest, match=HINT):
        train(small_spec(photos, "baseline", *names, "data.cache=disk"), tmp_path / "run", Console(file=io.StringIO()))
    assert not list(tmp_path.iterdir())


def test_only_the_sizes_on_one_side_may_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(spec: RunSpec, num_classes: int, device: str) -> None:
        if spec.data.image_size < 224:
            raise RuntimeError("too small.\nand more")

    monkeypatch.setattr(sizes, "_run", run)
    with pytest.raises(BadRequest, match=r"does not run at 100 pixels \(too small\): use --image-size 224$"):
        check_image_size(spec_of("baseline", 100), 12)
    monkeypatch.setattr(sizes, "_run", lambda *_: 1 / 0)
    with pytest.raises(BadRequest, match="use another backbone"):
        check_image_size(spec_of("baseline", 100), 12)


def test_what_only_the_meta_device_cannot_do_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def run(spec: RunSpec, num_classes: int, device: str) -> None:
        tried.append(device)
        if device == "meta":
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    monkeypatch.setattr(sizes, "_run", run)
    check_image_size(spec_of("baseline", 100), 12)
    assert tried == ["meta", "cpu"]


@pytest.mark.parametrize("method", METHOD_SPECS)
@pytest.mark.parametrize("size", [32, 45, 64])
def test_what_runs_is_not_refused(method: str, size: int) -> None:
    check_image_size(spec_of(method, size), 12)
