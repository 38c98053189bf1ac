"""Every way to start a backbone's weights, and every way it can fail."""

from __future__ import annotations

import hashlib
import http.server
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import get_model

from fgvc_cli.backbones import Backbone, build_backbone, find_run, load_backbone_weights, weights
from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.spec.backbone import TORCHVISION_NAMES, BackboneSpec


def official(name: str) -> dict[str, Tensor]:
    """A random state dict in torchvision's own layout, head included."""
    torch.manual_seed(7)
    return get_model(name, weights=None).state_dict()


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    return official("resnet18")


def load(name: str, path: Path | str) -> tuple[Backbone, list[str]]:
    backbone = build_backbone(name)
    return backbone, load_backbone_weights(backbone, BackboneSpec(name=name, weights=str(path)))


def assert_trunk_is(backbone: Backbone, tensors: dict[str, Tensor]) -> None:
    for key, value in backbone.trunk.state_dict().items():
        assert torch.equal(value, tensors[key]), key


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("nest", "prefix"),
    [(None, ""), ("state_dict", "module."), ("model", "backbone."), ("model_state_dict", "module.backbone.trunk.")],
)
def test_pth_files(tmp_path: Path, resnet18: dict[str, Tensor], nest: str | None, prefix: str) -> None:
    tensors = {prefix + k: v for k, v in resnet18.items()}
    torch.save({nest: tensors, "epoch": 3} if nest else tensors, tmp_path / "w.pth")
    backbone, notes = load("resnet18", tmp_path / "w.pth")
    assert_trunk_is(backbone, resnet18)
    source = f"weights {tmp_path / 'w.pth'}"
    taken = [f"{source}: these are of its {nest}"] if nest else []
    assert notes == [*taken, f"{source}: classifier head not loaded (fc.weight, fc.bias)"]


def moved(tensors: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value + 1 for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("content", "average", "note"),
    [
        (lambda raw: {"state_dict": raw, "state_dict_ema": moved(raw)}, True, "state_dict_ema, not of its state_dict"),
        (lambda raw: {"model": raw, "model_ema": moved(raw, "module.")}, True, "model_ema, not of its model"),
        (lambda raw: {"model": raw, "ema": {"module": moved(raw)}}, True, "ema.module, not of its model"),
        (lambda raw: {"ema": moved(raw)}, True, "ema"),
        # averages that are no weights of this network: a counter, names of another kind
        (lambda raw: {"model": raw, "ema": {"updates": torch.ones(())}}, False, "model, not of its ema"),
        (lambda raw: {"model": raw, "ema": moved(raw, "ema_model.")}, False, "model, not of its ema"),
        (lambda raw: {"state_dict": raw, "model": moved(raw)}, False, "state_dict, not of its model"),
        (lambda raw: {"model": raw, "ema": {"decay": 0.9, "shadow_params": [torch.ones(2)]}}, False, "model"),
    ],
)
def test_of_several_weights_in_a_file_it_says_which_were_taken(
    tmp_path: Path, content: Callable[[dict[str, Tensor]], Any], average: bool, note: str
) -> None:
    raw = build_backbone("tiny").trunk.state_dict()
    torch.save(content(raw) | {"epoch": 3, "optimizer": {}}, tmp_path / "w.pth")
    backbone, notes = load("tiny", tmp_path / "w.pth")
    assert_trunk_is(backbone, moved(raw) if average else raw)
    assert notes == [f"weights {tmp_path / 'w.pth'}: these are of its {note}"]


def test_safetensors_file_of_half_precision(tmp_path: Path, resnet18: dict[str, Tensor]) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in resnet18.items()}
    save_file(halves, tmp_path / "w.safetensors")
    backbone, _ = load("resnet18", tmp_path / "w.safetensors")
    assert_trunk_is(backbone, {k: v.to(resnet18[k].dtype) for k, v in halves.items()})


def test_an_old_file_lacks_the_counters_of_timm_s_batch_norm_too(tmp_path: Path) -> None:
    """Their names are longer inside timm's extractors; a file without them is whole all the same."""
    donor = build_backbone("timm:resnet18").trunk.state_dict()
    save_file({k: v for k, v in donor.items() if not k.endswith("num_batches_tracked")}, tmp_path / "w.safetensors")
    backbone, notes = load("timm:resnet18", tmp_path / "w.safetensors")
    assert_trunk_is(backbone, donor)
    assert notes == []


def test_vgg_file_without_batch_norm(tmp_path: Path) -> None:
    donor = build_backbone("vgg16").trunk.state_dict()
    torch.save({**donor, "classifier.6.weight": torch.zeros(4, 2)}, tmp_path / "w.pt")
    backbone, notes = load("vgg16", tmp_path / "w.pt")
    assert_trunk_is(backbone, donor)
    assert "classifier.6.weight" in notes[0]


def test_a_few_tensors_that_do_not_fit_are_named(tmp_path: Path, resnet18: dict[str, Tensor]) -> None:
    tensors = {k: v for k, v in resnet18.items() if not k.startswith("fc.")}
    del tensors["bn1.weight"]
    tensors["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    tensors["projector.weight"] = torch.zeros(3)
    tensors = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}  # as old files are
    torch.save(tensors, tmp_path / "w.pth")
    _, notes = load("resnet18", tmp_path / "w.pth")
    told = "missing: bn1.weight; different shape: conv1.weight; unknown: projector.weight"
    assert notes == [f"weights {tmp_path / 'w.pth'}: {told}"]


@pytest.mark.parametrize(
    ("backbone", "donor"),
    [
        ("resnet50", "resnet18"),
        ("resnet18", "resnet34"),
        ("resnet34", "resnet18"),
        ("vgg16", "vgg16_bn"),
        ("vgg19", "vgg16"),
    ],
)
def test_a_file_of_another_architecture(tmp_path: Path, backbone: str, donor: str) -> None:
    torch.save(build_backbone(donor).trunk.state_dict(), tmp_path / "w.pth")
    with pytest.raises(BadRequest, match=f"does not fit backbone {backbone}: .* tensors match; .*(layer|features)"):
        load(backbone, tmp_path / "w.pth")


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def bad_files(folder: Path) -> Iterator[tuple[str, str]]:
    torch.save({"conv1.weight": Evil()}, folder / "evil.pth")
    yield "evil.pth", "not a weights file, or holds objects other than tensors"
    (folder / "text.pth").write_text("hello")
    yield "text.pth", "not a weights file"
    (folder / "text.safetensors").write_text("hello")
    yield "text.safetensors", "not a safetensors file"
    (folder / "empty.pt").touch()
    yield "empty.pt", "not a weights file"
    torch.save([1, 2], folder / "list.pth")
    yield "list.pth", "holds no named tensors"
    torch.save({"epoch": 3, "state_dict": {}}, folder / "none.pth")
    yield "none.pth", "holds no named tensors"
    (folder / "folder").mkdir()
    yield "folder", r"has no model.safetensors"
    yield "absent.pth", "there is no file or folder"


def test_what_is_no_weights_file_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path):
        with pytest.raises(BadRequest, match=message) as caught:
            load("tiny", tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


# ---------------------------------------------------------------- runs


def write_run(folder: Path, backbone: Backbone, method: str = "baseline") -> Path:
    folder.mkdir()
    spec = {"spec": {"method": {"name": method}, "backbone": {"name": backbone.name}}, "classes": ["a"], "epoch": 1}
    tensors = {f"backbone.{k}": v for k, v in backbone.state_dict().items()} | {
        "classifier.weight": torch.zeros(2, 160)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"fgvc": json.dumps(spec)})
    return folder


def test_a_run_is_told_from_a_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", build_backbone("tiny"), "reaps")
    for weights_of in (run, run / "model.safetensors"):
        found = find_run(str(weights_of))
        assert found is not None
        assert (found.file, found.method, found.backbone) == (run / "model.safetensors", "reaps", "tiny")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    assert find_run(str(tmp_path / "plain.safetensors")) is None
    torch.save({}, tmp_path / "plain.pth")
    assert find_run(str(tmp_path / "plain.pth")) is None
    assert find_run("imagenet") is None
    assert find_run("none") is None


def test_metadata_of_another_make_is_still_a_run(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"fgvc": "not json"})
    found = find_run(str(tmp_path / "w.safetensors"))
    assert found is not None
    assert found.method is None


def test_the_backbone_of_a_run(tmp_path: Path) -> None:
    donor = build_backbone("tiny")
    backbone, notes = load("tiny", write_run(tmp_path / "run", donor))
    assert_trunk_is(backbone, donor.trunk.state_dict())
    assert notes == []
    with pytest.raises(BadRequest, match=r"of backbone tiny\) does not fit backbone resnet18"):
        load("resnet18", tmp_path / "run")


# ---------------------------------------------------------------- ImageNet


class Server:
    """Files of a folder on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Serve a folder as torchvision's; the result takes a file name and points resnet18 to it, returning its path."""
    served, cache = tmp_path / "served", tmp_path / "cache"
    served.mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cache))
    server = Server(served)

    def point_to(name: str) -> Path:
        monkeypatch.setattr(weights, "imagenet_address", lambda _: f"{server.address}/{name}")
        return served / name

    yield point_to
    server.server.shutdown()
    server.server.server_close()


def test_imagenet_is_fetched_checked_and_cached(
    tmp_path: Path, hub: Callable[[str], Path], resnet18: dict[str, Tensor]
) -> None:
    torch.save(resnet18, tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]
    served = hub(f"resnet18-{digest}.pth")
    (tmp_path / "w.pth").rename(served)
    backbone, notes = load("resnet18", "imagenet")
    assert_trunk_is(backbone, resnet18)
    assert notes == []
    served.unlink()
    assert_trunk_is(load("resnet18", "imagenet")[0], resnet18)  # out of the cache


def test_a_wrong_hash_and_a_broken_cache_are_one_line(tmp_path: Path, hub: Callable[[str], Path]) -> None:
    hub("resnet18-00000000.pth").write_bytes(b"not what it should be")
    with pytest.raises(FgvcError, match="invalid hash value") as caught:
        load("resnet18", "imagenet")
    assert "\n" not in str(caught.value)
    cached = tmp_path / "cache" / "checkpoints" / "resnet18-00000000.pth"
    cached.write_text("half a file")
    with pytest.raises(FgvcError, match=f"{cached} cannot be read as weights .*: delete it"):
        load("resnet18", "imagenet")


def test_offline_says_where_a_file_got_by_hand_must_lie(tmp_path: Path, hub: Callable[[str], Path]) -> None:
    hub("resnet18-f37072fd.pth")
    with pytest.raises(FgvcError) as caught:
        load("resnet18", "imagenet")
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    for told in ("http://127.0.0.1", f"{tmp_path}/cache/checkpoints/resnet18-f37072fd.pth", "--weights FILE", "none"):
        assert told in message


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_official_addresses(name: str) -> None:
    assert weights.imagenet_address(name).startswith(f"https://download.pytorch.org/models/{name}-")


def test_tiny_has_no_imagenet_weights() -> None:
    with pytest.raises(BadRequest, match="tiny has no ImageNet weights: use --weights none"):
        load("tiny", "imagenet")


def test_none_loads_nothing() -> None:
    assert load("tiny", "none")[1] == []


def test_code_of_another_pickle_protocol_is_refused_without_a_warning(tmp_path, recwarn) -> None:
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print, protocol=4))
    with pytest.raises(BadRequest, match=r"code\.pth is not a weights file"):
        load("tiny", tmp_path / "code.pth")
    assert not recwarn.list
